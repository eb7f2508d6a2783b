# syntax=docker/dockerfile:1.7
FROM golang:1.26.8-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /gapless .

FROM gcr.io/distroless/static-debian12:nonroot
LABEL org.opencontainers.image.title="gapless" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /gapless /gapless
USER nonroot:nonroot
ENTRYPOINT ["/gapless"]
