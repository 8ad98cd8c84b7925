# One static binary and nothing else, for docker build, podman and buildah:
#
#   docker build -t knxfleet .
#   docker run --read-only --cap-drop ALL --security-opt no-new-privileges -v knxfleet:/data knxfleet
#
# `make confined` proves the same without an image: it takes build command,
# user, environment and command line from this file.

FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
# The version comes from .git, which .dockerignore therefore lets through.
RUN CGO_ENABLED=0 go build -trimpath -ldflags="-s -w" -o /out/knxfleet ./cmd/knxfleet
RUN mkdir -m 0700 /out/data

# scratch, since the binary asks for nothing else: there is no shell, no libc and
# no other package to patch. CA certificates come with the first outgoing TLS
# connection (COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/),
# time zones by importing time/tzdata.
FROM scratch
COPY --from=build /out/knxfleet /knxfleet
# The only folder that is written. A new volume takes over owner and mode; in
# Kubernetes, fsGroup 65532 does it.
COPY --from=build --chown=65532:65532 /out/data /data
VOLUME /data
# By number, so that runAsNonRoot can be checked; there is no /etc/passwd.
USER 65532:65532

# A fixed port for routers that call, and logs for collectors.
ENV KNXFLEET_TUNNEL_LISTEN=0.0.0.0:51820 KNXFLEET_LOG_FORMAT=json
# gRPC; REST, metrics and health checks; WireGuard
EXPOSE 7671 7680 51820/udp

# The API listens within the pod or container only, as it has neither TLS nor
# authentication. Where the network around it is trusted, open it:
#   KNXFLEET_GRPC_LISTEN=0.0.0.0:7671 KNXFLEET_HTTP_LISTEN=0.0.0.0:7680 KNXFLEET_INSECURE=true
ENTRYPOINT ["/knxfleet"]
CMD ["serve", "--data-dir", "/data"]
