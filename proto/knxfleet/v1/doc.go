// Package knxfleetv1 is the contract between knxfleet and its clients: the
// generated Go of the .proto files beside it, for gRPC and for the REST gateway.
//
// The .proto files are the source; `make generate` writes everything else in
// this folder but rest.yaml, which maps the methods to REST paths.
package knxfleetv1
