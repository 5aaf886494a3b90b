# Two stages: one that builds, one that holds the binary and nothing to build with.
FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY . .
# The registry and the build folder are kept between builds; the binary has to leave the latter.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin callscope \
    && cp target/release/callscope /callscope

FROM debian:bookworm-slim
# Certificates of authorities, to speak to homeservers.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --no-create-home callscope \
    && install -d -o callscope -g callscope -m 0700 /data
COPY --from=build /callscope /usr/local/bin/callscope
COPY LICENSE /usr/share/doc/callscope/LICENSE
ENV CALLSCOPE_BIND=0.0.0.0:8080 \
    CALLSCOPE_DATABASE_URL=sqlite:///data/callscope.db
USER callscope
WORKDIR /data
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s CMD ["callscope", "health"]
ENTRYPOINT ["callscope"]
