//! The `plugin!` macro: it makes a crate a module.

/// Called by `configure` before anything else.
#[doc(hidden)]
pub fn begin() {
    #[cfg(target_arch = "wasm32")]
    crate::host::report_panics();
}

/// Declares what the crate's module is: once per crate, at its root.
///
/// The parts come in this order; `version` (the crate's own without it), `validate`, `inputs` and `self_tests` may be
/// left out. A module exports exactly the hooks that are named. The whole declaration becomes the custom section
/// `bellhop:policy`, which tools read without running the module.
///
/// - `settings`: a type declared with [`settings!`](crate::settings), or [`NoSettings`](crate::NoSettings).
/// - `validate`: `fn(&Settings) -> Result<(), String>`, for rules between fields; its error refuses the config.
/// - `hooks`: `address: fn(&Settings, &AddressRequest) -> Result<Decision<Address>, String>`,
///   `nodes: fn(&Settings, &NodeRequest) -> Result<Decision<Verdict>, String>`,
///   `route: fn(&Settings, &RouteRequest) -> Result<Decision<Route>, String>`.
/// - `inputs`: what it reads; the rest is not told. Keys: `service_labels`, `service_annotations`, `namespace_labels`,
///   `node_labels`, `node_annotations`, `peer_labels`, `pool_labels`, `topology_keys`. Yes or no: `service_identity`,
///   `node_identity`, `peer_identity`, `node_taints`, `node_conditions`, `local_endpoints`, `address`, `pool`,
///   `session`. `from_config`: for keys that the config names, the JSON pointer of a list of strings in it.
/// - `self_tests`: cases that a version must pass before it serves, each with a name, a hook (`Address`, `Nodes`,
///   `Route`) and JSON texts: the question's form is that of the request with pairs as `[key, value]`, an answer is
///   `"useDefault"` or one of
///   - `{"choose": [[{"family": "IPv4", "candidate": 0}]]}` (or `exact`, or `pool`), `{"reject": "why"}`;
///   - a list with one of `"useDefault"`, `{"eligible": 100}`, `{"draining": "why"}`, `{"ineligible": "why"}` a node;
///   - `{"advertise": {"communities": ["65000:1"], "med": 5}}`, `{"withhold": "why"}`. Notes are not compared.
///
/// ```
/// use bellhop_policy::*;
///
/// fn route(_: &NoSettings, request: &RouteRequest) -> Result<Decision<Route>, String> {
///     Ok(match request.service.label("tier") {
///         Some("gold") => Route::Advertise(Attributes { local_preference: Some(200), ..request.default_attributes() }).into(),
///         _ => Decision::use_default(),
///     })
/// }
///
/// plugin! {
///     name: "gold",
///     settings: NoSettings,
///     hooks: { route: route },
///     inputs: { service_labels: ["tier"] },
///     self_tests: [
///         {
///             name: "gold is preferred",
///             config: "{}",
///             hook: Route,
///             request: r#"{"service": {"labels": [["tier", "gold"]]}, "family": "IPv4", "node": {}, "peer": {}}"#,
///             expect: r#"{"advertise": {"localPreference": 200}}"#,
///         },
///     ],
/// }
/// # fn main() { assert!(Plugin::METADATA.contains("gold is preferred")) }
/// ```
#[macro_export]
macro_rules! plugin {
    (
        name: $name:expr,
        $(version: $version:expr,)?
        settings: $settings:ty,
        $(validate: $validate:path,)?
        hooks: { $($hook:ident : $function:path),+ $(,)? }
        $(, inputs: { $($input:ident : $value:tt),* $(,)? })?
        $(, self_tests: [ $($test:tt),* $(,)? ])?
        $(,)?
    ) => {
        /// The module that this crate is.
        #[derive(Clone, Copy, Debug)]
        pub struct Plugin;

        impl Plugin {
            const PARTS: &'static [$crate::constant::Part] = {
                use $crate::constant::Part;
                &[
                    Part::Raw("{\"name\":"),
                    Part::Text($name),
                    Part::Raw(",\"version\":"),
                    Part::Text($crate::__version!($($version)?)),
                    Part::Raw(",\"sdk\":"),
                    Part::Text($crate::SDK_VERSION),
                    Part::Raw(",\"hooks\":["),
                    Part::List(&[$($crate::__hook_name!($hook)),+]),
                    Part::Raw("],\"inputs\":{"),
                    Part::List(&[$($($crate::__input!($input $value)),*)?]),
                    Part::Raw("},\"configSchema\":"),
                    Part::All(<$settings as $crate::Setting>::SCHEMA),
                    Part::Raw(",\"selfTests\":["),
                    Part::List(&[$($($crate::__self_test!($test)),*)?]),
                    Part::Raw("]}"),
                ]
            };
            const LENGTH: usize = $crate::constant::length(Self::PARTS);
            const BYTES: [u8; Self::LENGTH] = $crate::constant::bytes(Self::PARTS);

            /// The content of the custom section `bellhop:policy`, JSON.
            pub const METADATA: &'static str = $crate::constant::text(&Self::BYTES);

            /// Reads and checks a `spec.config`, as the host does before every decision.
            ///
            /// # Errors
            /// Where the config is not what the settings may be.
            pub fn settings(config: &str) -> ::core::result::Result<$settings, ::std::string::String> {
                let settings: $settings =
                    $crate::settings_from_json(config).map_err(|error| ::std::string::ToString::to_string(&error))?;
                $($validate(&settings)?;)?
                Ok(settings)
            }

            fn with_settings<T>(
                decide: impl FnOnce(&$settings) -> ::core::result::Result<T, ::std::string::String>,
            ) -> ::core::result::Result<T, ::std::string::String> {
                SETTINGS.with_borrow(|settings| match settings {
                    Some(settings) => decide(settings),
                    None => Err("asked before it was configured".into()),
                })
            }
        }

        ::std::thread_local! {
            static SETTINGS: ::core::cell::RefCell<Option<$settings>> = const { ::core::cell::RefCell::new(None) };
        }

        #[cfg(target_arch = "wasm32")]
        const _: () = {
            #[unsafe(link_section = "bellhop:policy")]
            static METADATA: [u8; Plugin::LENGTH] = Plugin::BYTES;
        };

        impl $crate::rt::bindings::exports::bellhop::policy_base::lifecycle::Guest for Plugin {
            fn configure(config: ::std::string::String) -> ::core::result::Result<(), ::std::string::String> {
                $crate::__begin();
                let settings = Self::settings(&config)?;
                SETTINGS.set(Some(settings));
                Ok(())
            }
        }

        $crate::__component_type!("component-type:bellhop:base", BASE_TYPE);
        #[cfg(target_arch = "wasm32")]
        $crate::rt::bindings::exports::bellhop::policy_base::lifecycle::__export_bellhop_policy_base_lifecycle_0_1_0_cabi!(
            Plugin with_types_in $crate::rt::bindings::exports::bellhop::policy_base::lifecycle
        );
        $($crate::__export_hook!($hook $function);)+
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __version {
    () => {
        env!("CARGO_PKG_VERSION")
    };
    ($version:expr) => {
        $version
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __component_type {
    ($section:literal, $bytes:ident) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            #[unsafe(link_section = $section)]
            static TYPE: [u8; $crate::rt::$bytes.len()] = $crate::rt::array($crate::rt::$bytes);
        };
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __hook_name {
    (address) => {
        $crate::constant::Part::Text("Address")
    };
    (nodes) => {
        $crate::constant::Part::Text("Nodes")
    };
    (route) => {
        $crate::constant::Part::Text("Route")
    };
    ($other:ident) => {
        compile_error!(concat!("no such hook: ", stringify!($other), "; there are address, nodes and route"))
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __input {
    (from_config { $($set:ident : $pointer:expr),* $(,)? }) => {
        $crate::constant::Part::All(&[
            $crate::constant::Part::Raw("\"fromConfig\":{"),
            $crate::constant::Part::List(&[$($crate::constant::Part::All(&[
                $crate::constant::Part::Camel(stringify!($set)),
                $crate::constant::Part::Raw(":"),
                $crate::constant::Part::Text($pointer),
            ])),*]),
            $crate::constant::Part::Raw("}"),
        ])
    };
    ($input:ident [$($key:expr),* $(,)?]) => {
        $crate::constant::Part::All(&[
            $crate::constant::Part::Camel(stringify!($input)),
            $crate::constant::Part::Raw(":["),
            $crate::constant::Part::List(&[$($crate::constant::Part::Text($key)),*]),
            $crate::constant::Part::Raw("]"),
        ])
    };
    ($input:ident $value:literal) => {
        $crate::constant::Part::All(&[
            $crate::constant::Part::Camel(stringify!($input)),
            $crate::constant::Part::Raw(if $value { ":true" } else { ":false" }),
        ])
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __self_test {
    ({ name: $name:expr, config: $config:expr, hook: $hook:ident, request: $request:expr, expect: $expect:expr $(,)? }) => {
        $crate::constant::Part::All(&[
            $crate::constant::Part::Raw("{\"name\":"),
            $crate::constant::Part::Text($name),
            $crate::constant::Part::Raw(",\"config\":"),
            $crate::constant::Part::Raw($config),
            $crate::constant::Part::Raw(",\"hook\":"),
            $crate::constant::Part::Text(stringify!($hook)),
            $crate::constant::Part::Raw(",\"request\":"),
            $crate::constant::Part::Raw($request),
            $crate::constant::Part::Raw(",\"expect\":"),
            $crate::constant::Part::Raw($expect),
            $crate::constant::Part::Raw("}"),
        ])
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export_hook {
    (address $function:path) => {
        impl $crate::rt::bindings::exports::bellhop::policy_address::address::Guest for Plugin {
            fn decide(
                request: $crate::AddressRequest,
            ) -> ::core::result::Result<$crate::AddressResponse, ::std::string::String> {
                Self::with_settings(|settings| $function(settings, &request).map(Into::into))
            }
        }
        $crate::__component_type!("component-type:bellhop:address", ADDRESS_TYPE);
        #[cfg(target_arch = "wasm32")]
        $crate::rt::bindings::exports::bellhop::policy_address::address::__export_bellhop_policy_address_address_0_1_0_cabi!(
            Plugin with_types_in $crate::rt::bindings::exports::bellhop::policy_address::address
        );
    };
    (nodes $function:path) => {
        impl $crate::rt::bindings::exports::bellhop::policy_nodes::nodes::Guest for Plugin {
            fn decide(
                request: $crate::NodesRequest,
            ) -> ::core::result::Result<$crate::NodesResponse, ::std::string::String> {
                Self::with_settings(|settings| $crate::__decide_each(&request, |node| $function(settings, node)))
            }
        }
        $crate::__component_type!("component-type:bellhop:nodes", NODES_TYPE);
        #[cfg(target_arch = "wasm32")]
        $crate::rt::bindings::exports::bellhop::policy_nodes::nodes::__export_bellhop_policy_nodes_nodes_0_1_0_cabi!(
            Plugin with_types_in $crate::rt::bindings::exports::bellhop::policy_nodes::nodes
        );
    };
    (route $function:path) => {
        impl $crate::rt::bindings::exports::bellhop::policy_route::route::Guest for Plugin {
            fn decide(
                request: $crate::RouteRequest,
            ) -> ::core::result::Result<$crate::RouteResponse, ::std::string::String> {
                Self::with_settings(|settings| $function(settings, &request).map(Into::into))
            }
        }
        $crate::__component_type!("component-type:bellhop:route", ROUTE_TYPE);
        #[cfg(target_arch = "wasm32")]
        $crate::rt::bindings::exports::bellhop::policy_route::route::__export_bellhop_policy_route_route_0_1_0_cabi!(
            Plugin with_types_in $crate::rt::bindings::exports::bellhop::policy_route::route
        );
    };
}
