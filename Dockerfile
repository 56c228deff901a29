# The image for those who have a container engine: docker build -t localhost/bellhop:dev .
# It has the same content as the one of `make image`, which needs no engine and is what the tests run; this file is not
# built by continuous integration.

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# Apart from each other: in one build the compiler's features of wasmtime would become the host's (docs/decisions/build.md).
RUN cargo build --locked --release -p bellhop && cargo build --locked --release -p bellhop-compiler
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates
# Libraries where the loader looks for them, whatever the architecture.
RUN set -eu; \
    mkdir -p /out/usr/bin /out/etc/ssl/certs /out/var/lib/bellhop /out/run/bellhop /out/tmp; \
    chmod 1777 /out/tmp; \
    cp target/release/bellhop target/release/bellhop-compiler /out/usr/bin/; \
    ln -s bellhop /out/usr/bin/kubectl-bellhop; \
    { ldd target/release/bellhop; ldd target/release/bellhop-compiler; } \
        | grep -o '/[^ ]*' | sort -u | xargs -I{} cp --parents --dereference {} /out; \
    cp --parents --dereference /lib/*-linux-gnu/libresolv.so.2 /out; \
    cp /etc/ssl/certs/ca-certificates.crt /out/etc/ssl/certs/; \
    printf 'root:x:0:0:root:/:/nonexistent\nbellhop:x:65532:65532:bellhop:/:/nonexistent\n' >/out/etc/passwd; \
    printf 'root:x:0:\nbellhop:x:65532:\n' >/out/etc/group; \
    printf 'passwd: files\ngroup: files\nhosts: files dns\n' >/out/etc/nsswitch.conf

FROM scratch
COPY --from=build /out /
USER 65532:65532
ENV PATH=/usr/bin SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
ENTRYPOINT ["/usr/bin/bellhop"]
