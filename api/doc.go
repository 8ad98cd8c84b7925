// Package api serves the contract of proto/knxfleet/v1 over gRPC and, through
// the same handlers, as REST.
//
// Handlers return the errors of the packages they call; errors.go alone turns
// them into gRPC codes. What the contract names and is not built yet answers
// UNIMPLEMENTED.
package api
