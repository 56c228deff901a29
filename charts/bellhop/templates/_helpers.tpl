{{/* Prefix of the names of all objects; 40 characters leave room for the suffixes. */}}
{{- define "bellhop.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Labels that never change in the life of a release. Call with (dict "root" . "component" "speaker"). */}}
{{- define "bellhop.selectorLabels" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end -}}

{{/* Labels of every object. */}}
{{- define "bellhop.labels" -}}
{{ include "bellhop.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: bellhop
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The image, by digest where there is one. */}}
{{- define "bellhop.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ default $.Chart.AppVersion .tag }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What every container of ours forgoes. */}}
{{- define "bellhop.restrictions" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
{{- end -}}

{{/* The user of every pod that needs no privilege. */}}
{{- define "bellhop.nobody" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{/* Probes on a named port. */}}
{{- define "bellhop.probes" -}}
# A speaker that starts while the API server is away is alive and announces; it only is not ready.
startupProbe:
  httpGet: {path: /livez, port: metrics}
  periodSeconds: 2
  failureThreshold: 30
livenessProbe:
  httpGet: {path: /livez, port: metrics}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: metrics}
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: 2
{{- end -}}

{{/* Fails with a sentence where a kind that was asked for does not exist. Call with (dict "root" . "kind" … "value" …). */}}
{{- define "bellhop.needsMonitoring" -}}
{{- $api := printf "monitoring.coreos.com/v1/%s" .kind -}}
{{- if not (.root.Capabilities.APIVersions.Has $api) -}}
{{- fail (printf "%s is true, but the cluster has no %s: install the Prometheus operator's CRDs first, or set it to false (helm template: add --api-versions %s)" .value $api $api) -}}
{{- end -}}
{{- end -}}

{{/* Seconds that draining all speakers may take: the longest stop of a speaker and a minute for the cluster. */}}
{{- define "bellhop.drainSeconds" -}}
{{- add .Values.speaker.terminationGracePeriodSeconds 60 -}}
{{- end -}}
