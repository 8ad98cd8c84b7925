package api

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"

	"github.com/knxfleet/knxfleet/fleet"
	"github.com/knxfleet/knxfleet/fleet/journal"
	"github.com/knxfleet/knxfleet/fleet/peerconfig"
	"github.com/knxfleet/knxfleet/fleet/registry"
	"github.com/knxfleet/knxfleet/fleet/tables"
	"github.com/knxfleet/knxfleet/knxbridge/ets"
	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

// errorDomain names us in google.rpc.ErrorInfo.
const errorDomain = "knxfleet"

// errInternal is a fault of ours; its details are in the log alone.
var errInternal = errors.New("internal error; the gateway's log says more")

// notBuiltError is a part of the contract that does not exist yet.
type notBuiltError struct{ what string }

func (e *notBuiltError) Error() string { return e.what + ": not built yet" }

func notBuilt(what string) error { return &notBuiltError{what} }

// invalid is a field that asks for something impossible.
func invalid(field, format string, args ...any) error {
	return &registry.FieldError{Field: field, Problem: fmt.Errorf(format, args...).Error()}
}

// aboutError is an error of a stream, and the building that the stream is about.
type aboutError struct {
	building string
	err      error
}

func (e *aboutError) Error() string { return e.err.Error() }
func (e *aboutError) Unwrap() error { return e.err }

// aboutBuilding says which building an error is about, if there can be one of
// that id.
func aboutBuilding(err error, id string) error {
	if err == nil || registry.ValidateID(id) != nil {
		return err
	}
	return &aboutError{id, err}
}

// answer is an error as clients see it.
type answer struct {
	is     error // matched with errors.Is
	code   codes.Code
	reason string
}

// answers is the one table from errors to codes; the first match counts.
var answers = []answer{
	{registry.ErrExists, codes.AlreadyExists, "BUILDING_EXISTS"},
	{registry.ErrNotFound, codes.NotFound, "BUILDING_NOT_FOUND"},
	{registry.ErrConflict, codes.Aborted, "ETAG_MISMATCH"},
	{registry.ErrUnreadable, codes.DataLoss, "BUILDING_UNREADABLE"},
	{registry.ErrUnavailable, codes.Unavailable, "STORE_UNAVAILABLE"},
	{tables.ErrConflict, codes.Aborted, "ETAG_MISMATCH"},
	{tables.ErrTooLarge, codes.ResourceExhausted, "TABLE_TOO_LARGE"},
	{tables.ErrUnreadable, codes.DataLoss, "TABLE_UNREADABLE"},
	{ets.ErrTooLarge, codes.ResourceExhausted, "FILE_TOO_LARGE"},
	{errFileTooLarge, codes.ResourceExhausted, "FILE_TOO_LARGE"},
	{errImportsBusy, codes.ResourceExhausted, "IMPORTS_BUSY"},
	{errSlowUpload, codes.DeadlineExceeded, "UPLOAD_TOO_SLOW"},
	{journal.ErrBadToken, codes.InvalidArgument, "TOKEN_INVALID"},
	{journal.ErrOff, codes.FailedPrecondition, "JOURNAL_OFF"},
	{journal.ErrNoHistory, codes.Unavailable, "JOURNAL_UNAVAILABLE"},
	{peerconfig.ErrNoEndpoint, codes.FailedPrecondition, "GATEWAY_ENDPOINT_UNKNOWN"},
	{fleet.ErrDisabled, codes.FailedPrecondition, "BUILDING_DISABLED"},
	{fleet.ErrNotStarted, codes.Unavailable, "BUILDING_STARTING"},
	{fleet.ErrBusy, codes.ResourceExhausted, "DIAGNOSTICS_BUSY"},
	{fleet.ErrStopping, codes.Unavailable, "GATEWAY_STOPPING"},
	{fleet.ErrSlowWatcher, codes.ResourceExhausted, "WATCH_TOO_SLOW"},
	{fleet.ErrQueueFull, codes.ResourceExhausted, "WRITE_QUEUE_FULL"},
	{fleet.ErrTooLate, codes.DeadlineExceeded, "NOT_SENT_IN_TIME"},
	{fleet.ErrMonitored, codes.ResourceExhausted, "BUS_MONITORED_ALREADY"},
	{fleet.ErrNoSlot, codes.ResourceExhausted, "SLOTS_FULL"},
	{fleet.ErrNoBusmonitor, codes.FailedPrecondition, "BUSMONITOR_UNSUPPORTED"},
	{fleet.ErrMonitorFailed, codes.Unavailable, "BUSMONITOR_FAILED"},
	{errKeyReused, codes.AlreadyExists, "IDEMPOTENCY_KEY_REUSED"},
	{errKeysFull, codes.ResourceExhausted, "IDEMPOTENCY_KEYS_FULL"},
	{errBatchesBusy, codes.ResourceExhausted, "BATCHES_BUSY"},
	{fleet.ErrSiteStopped, codes.Unavailable, "BUILDING_STOPPING"},
	{context.DeadlineExceeded, codes.DeadlineExceeded, "DEADLINE_EXCEEDED"},
	{context.Canceled, codes.Canceled, "CANCELLED"},
}

// toStatus turns an error of a handler into the gRPC status that the contract
// promises: a code, google.rpc.ErrorInfo with a reason and the building, and for
// a wrong field google.rpc.BadRequest. The building is the one that the error
// names, or else the one that the call was about. A status passes, with a reason
// if it has none.
func toStatus(err error, building string) error {
	if err == nil {
		return nil
	}
	var (
		field   *registry.FieldError
		offline *fleet.OfflineError
		silent  *fleet.NoAnswerError
		missing *notBuiltError
		unsent  *fleet.NotSentError
		named   *registry.BuildingError
		file    *ets.Error
		about   *aboutError
	)
	if errors.As(err, &about) {
		building = about.building
	}
	if errors.As(err, &named) {
		building = named.ID
	}
	switch {
	case errors.As(err, &field):
		return withDetails(codes.InvalidArgument, err.Error(), "INVALID_FIELD", building, &errdetails.BadRequest{
			FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: field.Field, Description: shorten(field.Problem)}},
		})
	case errors.As(err, &file) && !errors.Is(err, ets.ErrTooLarge):
		reason, field := fileProblem(file)
		return withDetails(codes.InvalidArgument, err.Error(), reason, building, &errdetails.BadRequest{
			FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: field, Description: shorten(file.Error())}},
		})
	case errors.As(err, &offline):
		return withDetails(codes.FailedPrecondition, err.Error(), "BUILDING_NOT_ONLINE", offline.Building)
	case errors.As(err, &silent):
		return withDetails(codes.DeadlineExceeded, err.Error(), "NO_ANSWER", silent.Building)
	case errors.As(err, &missing):
		return withDetails(codes.Unimplemented, err.Error(), "NOT_BUILT", building)
	}
	for _, a := range answers {
		if errors.Is(err, a.is) {
			return withDetails(a.code, err.Error(), a.reason, building)
		}
	}
	if errors.As(err, &unsent) {
		return withDetails(codes.Unavailable, err.Error(), "NOT_SENT", building)
	}
	if s, ok := status.FromError(err); ok {
		if len(s.Details()) > 0 {
			return err
		}
		return withDetails(s.Code(), s.Message(), reasonOf(s.Code()), building)
	}
	return withDetails(codes.Internal, err.Error(), "INTERNAL", building)
}

// fileProblem says which field of an import is wrong, and how.
func fileProblem(err *ets.Error) (reason, field string) {
	switch {
	case errors.Is(err, ets.ErrPasswordRequired):
		return "PASSWORD_REQUIRED", "header.password"
	case errors.Is(err, ets.ErrWrongPassword):
		return "WRONG_PASSWORD", "header.password"
	}
	return "INVALID_FILE", "chunk"
}

// reasonOf names the codes that gRPC itself gives.
func reasonOf(c codes.Code) string {
	if c == codes.Unimplemented {
		return "NOT_BUILT"
	}
	return code.Code(c).String()
}

// maxMessage bounds an error's text in bytes. Texts repeat what a client sent,
// and gRPC carries them in trailers, which many clients and proxies limit to 8 KiB
// with all that is in them.
const maxMessage = 1024

func shorten(text string) string {
	if len(text) <= maxMessage {
		return text
	}
	return strings.ToValidUTF8(text[:maxMessage], "") + "…"
}

// buildingOf is the id of the building that a request names; empty if it names
// none, or what cannot be one.
func buildingOf(request any) string {
	var id string
	switch r := request.(type) {
	case interface{ GetId() string }:
		id = r.GetId()
	case interface{ GetBuilding() string }:
		id = r.GetBuilding()
	case interface{ GetBuilding() *knxfleetv1.Building }:
		id = r.GetBuilding().GetId()
	}
	if registry.ValidateID(id) != nil {
		return ""
	}
	return id
}

func withDetails(c codes.Code, message, reason, building string, more ...protoadapt.MessageV1) error {
	info := &errdetails.ErrorInfo{Reason: reason, Domain: errorDomain}
	if building != "" {
		info.Metadata = map[string]string{"building": building}
	}
	plain := status.New(c, shorten(message))
	detailed, err := plain.WithDetails(append([]protoadapt.MessageV1{info}, more...)...)
	if err != nil {
		return plain.Err() // only for code OK, which is no error
	}
	return detailed.Err()
}
