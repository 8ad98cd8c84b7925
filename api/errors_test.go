package api

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/knxfleet/knxfleet/fleet"
	"github.com/knxfleet/knxfleet/fleet/journal"
	"github.com/knxfleet/knxfleet/fleet/peerconfig"
	"github.com/knxfleet/knxfleet/fleet/registry"
	"github.com/knxfleet/knxfleet/fleet/tables"
	"github.com/knxfleet/knxfleet/knxbridge/ets"
	"github.com/knxfleet/knxfleet/knxbridge/session"
	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

// promised is what clients are told of each sentinel.
var promised = map[error]struct {
	code   codes.Code
	reason string
}{
	registry.ErrExists:       {codes.AlreadyExists, "BUILDING_EXISTS"},
	registry.ErrNotFound:     {codes.NotFound, "BUILDING_NOT_FOUND"},
	registry.ErrConflict:     {codes.Aborted, "ETAG_MISMATCH"},
	registry.ErrUnreadable:   {codes.DataLoss, "BUILDING_UNREADABLE"},
	registry.ErrUnavailable:  {codes.Unavailable, "STORE_UNAVAILABLE"},
	tables.ErrConflict:       {codes.Aborted, "ETAG_MISMATCH"},
	tables.ErrTooLarge:       {codes.ResourceExhausted, "TABLE_TOO_LARGE"},
	tables.ErrUnreadable:     {codes.DataLoss, "TABLE_UNREADABLE"},
	ets.ErrTooLarge:          {codes.ResourceExhausted, "FILE_TOO_LARGE"},
	errFileTooLarge:          {codes.ResourceExhausted, "FILE_TOO_LARGE"},
	errImportsBusy:           {codes.ResourceExhausted, "IMPORTS_BUSY"},
	errSlowUpload:            {codes.DeadlineExceeded, "UPLOAD_TOO_SLOW"},
	journal.ErrBadToken:      {codes.InvalidArgument, "TOKEN_INVALID"},
	journal.ErrOff:           {codes.FailedPrecondition, "JOURNAL_OFF"},
	journal.ErrNoHistory:     {codes.Unavailable, "JOURNAL_UNAVAILABLE"},
	peerconfig.ErrNoEndpoint: {codes.FailedPrecondition, "GATEWAY_ENDPOINT_UNKNOWN"},
	fleet.ErrDisabled:        {codes.FailedPrecondition, "BUILDING_DISABLED"},
	fleet.ErrNotStarted:      {codes.Unavailable, "BUILDING_STARTING"},
	fleet.ErrBusy:            {codes.ResourceExhausted, "DIAGNOSTICS_BUSY"},
	fleet.ErrStopping:        {codes.Unavailable, "GATEWAY_STOPPING"},
	fleet.ErrSlowWatcher:     {codes.ResourceExhausted, "WATCH_TOO_SLOW"},
	fleet.ErrQueueFull:       {codes.ResourceExhausted, "WRITE_QUEUE_FULL"},
	fleet.ErrTooLate:         {codes.DeadlineExceeded, "NOT_SENT_IN_TIME"},
	fleet.ErrMonitored:       {codes.ResourceExhausted, "BUS_MONITORED_ALREADY"},
	fleet.ErrNoSlot:          {codes.ResourceExhausted, "SLOTS_FULL"},
	fleet.ErrNoBusmonitor:    {codes.FailedPrecondition, "BUSMONITOR_UNSUPPORTED"},
	fleet.ErrMonitorFailed:   {codes.Unavailable, "BUSMONITOR_FAILED"},
	errKeyReused:             {codes.AlreadyExists, "IDEMPOTENCY_KEY_REUSED"},
	errKeysFull:              {codes.ResourceExhausted, "IDEMPOTENCY_KEYS_FULL"},
	errBatchesBusy:           {codes.ResourceExhausted, "BATCHES_BUSY"},
	fleet.ErrSiteStopped:     {codes.Unavailable, "BUILDING_STOPPING"},
	context.DeadlineExceeded: {codes.DeadlineExceeded, "DEADLINE_EXCEEDED"},
	context.Canceled:         {codes.Canceled, "CANCELLED"},
}

func TestStatusOfEverySentinel(t *testing.T) {
	for _, a := range answers {
		want, ok := promised[a.is]
		if !ok {
			t.Errorf("no promise for %v", a.is)
			continue
		}
		// However deep it is wrapped, and with the building that the error names.
		for name, err := range map[string]error{
			"bare":          a.is,
			"wrapped":       fmt.Errorf("list the buildings: %w", a.is),
			"of a building": &registry.BuildingError{ID: "hq", Cause: fmt.Errorf("cannot be: %w", a.is)},
			"not sent":      fmt.Errorf("building hq: %w", &fleet.NotSentError{Cause: a.is}),
		} {
			info, _ := refused(t, toStatus(err, ""), want.code, want.reason, a.is.Error())
			building := ""
			if name == "of a building" {
				building = "hq"
			}
			if info.GetMetadata()["building"] != building {
				t.Errorf("%s: metadata %v, want building %q", name, info.GetMetadata(), building)
			}
		}
	}
	if len(answers) != len(promised) {
		t.Errorf("%d rows for %d promises", len(answers), len(promised))
	}
}

func TestStatusOfOtherErrors(t *testing.T) {
	detailed, err := status.New(codes.NotFound, "gone").WithDetails(&errdetails.ErrorInfo{Reason: "GONE", Domain: "knxfleet"})
	noError(t, err)
	for name, c := range map[string]struct {
		err          error
		code         codes.Code
		reason, text string
		building     string
	}{
		"a field":                  {&registry.FieldError{Field: "id", Problem: "is missing"}, codes.InvalidArgument, "INVALID_FIELD", "id: is missing", "asked"},
		"a field of a building":    {&registry.BuildingError{ID: "hq", Cause: &registry.FieldError{Field: "id", Problem: "is missing"}}, codes.InvalidArgument, "INVALID_FIELD", "is missing", "hq"},
		"offline":                  {&fleet.OfflineError{Building: "hq", Status: fleet.Status{State: fleet.StateBackingOff, Reason: "SLOTS_FULL"}}, codes.FailedPrecondition, "BUILDING_NOT_ONLINE", "BACKING_OFF (SLOTS_FULL)", "hq"},
		"no answer":                {&fleet.NoAnswerError{Building: "hq", Address: "1/2/3", Timeout: time.Second}, codes.DeadlineExceeded, "NO_ANSWER", "nobody answered the read of 1/2/3", "hq"},
		"not built":                {notBuilt("flying"), codes.Unimplemented, "NOT_BUILT", "flying: not built yet", "asked"},
		"not sent":                 {&fleet.NotSentError{Cause: errors.New("the machine is in no mood")}, codes.Unavailable, "NOT_SENT", "in no mood", "asked"},
		"internal":                 {errInternal, codes.Internal, "INTERNAL", "internal error", "asked"},
		"any other":                {errors.New("what"), codes.Internal, "INTERNAL", "what", "asked"},
		"a status":                 {status.Error(codes.NotFound, "unknown service"), codes.NotFound, "NOT_FOUND", "unknown service", "asked"},
		"a status, too large":      {status.Error(codes.ResourceExhausted, "message larger than max"), codes.ResourceExhausted, "RESOURCE_EXHAUSTED", "larger", "asked"},
		"a status, unimplemented":  {status.Error(codes.Unimplemented, "method X not implemented"), codes.Unimplemented, "NOT_BUILT", "X", "asked"},
		"a status of a broken way": {status.Error(codes.Unavailable, "transport is closing"), codes.Unavailable, "UNAVAILABLE", "transport", "asked"},
		"a status with details":    {detailed.Err(), codes.NotFound, "GONE", "gone", ""},
		"no id":                    {registry.ValidateID(""), codes.InvalidArgument, "INVALID_FIELD", "missing", "asked"},
	} {
		t.Run(name, func(t *testing.T) {
			info, bad := refused(t, toStatus(c.err, "asked"), c.code, c.reason, c.text)
			if info.GetMetadata()["building"] != c.building {
				t.Errorf("metadata %v, want building %q", info.GetMetadata(), c.building)
			}
			if (c.code == codes.InvalidArgument) != (len(bad.GetFieldViolations()) == 1) {
				t.Errorf("violations %v of %v", bad, c.code)
			}
		})
	}
	if err := toStatus(nil, "hq"); err != nil {
		t.Errorf("of no error: %v", err)
	}
}

func TestShorten(t *testing.T) {
	if got := shorten("short"); got != "short" {
		t.Error(got)
	}
	for lead := range 4 { // so that the cut falls on every byte of a rune
		got := shorten(strings.Repeat("x", lead) + strings.Repeat("€", 1000))
		if len(got) > maxMessage+len("…") || !utf8.ValidString(got) || !strings.HasSuffix(got, "€…") {
			t.Errorf("%d bytes, valid %v, ending %q", len(got), utf8.ValidString(got), got[len(got)-10:])
		}
	}
}

func TestOutcomes(t *testing.T) {
	for outcome, want := range map[session.Outcome]knxfleetv1.Outcome{
		session.Confirmed:   knxfleetv1.Outcome_OUTCOME_CONFIRMED,
		session.Rejected:    knxfleetv1.Outcome_OUTCOME_REJECTED,
		session.Unconfirmed: knxfleetv1.Outcome_OUTCOME_UNCONFIRMED,
		session.Unknown:     knxfleetv1.Outcome_OUTCOME_UNKNOWN,
	} {
		if got := outcomeOf(outcome); got != want {
			t.Errorf("%v is told as %v, want %v", outcome, got, want)
		}
	}
}

// built are the methods that do something; all others of the contract say that
// they do not yet.
var built = map[string]bool{
	"CreateBuilding": true, "GetBuilding": true, "ListBuildings": true, "DeleteBuilding": true,
	"EnableBuilding": true, "DisableBuilding": true, "WatchBuildings": true, "StreamTelegrams": true, "GroupWrite": true,
	"ImportGroupAddresses": true, "ListGroupAddresses": true, "ListTelegrams": true, "ListGroupValues": true,
	"UpdateBuilding": true, "ReconnectBuilding": true, "GenerateKeys": true, "GetPeerConfig": true,
	"GroupRead": true, "BatchGroupWrite": true, "StreamBusMonitor": true,
	"Diagnose": true, "Ping": true, "DiscoverInterfaces": true,
}

func TestWhatIsNotBuiltSaysSo(t *testing.T) {
	g := start(t)
	missing := 0
	for _, file := range []protoreflect.FileDescriptor{
		knxfleetv1.File_knxfleet_v1_building_service_proto, knxfleetv1.File_knxfleet_v1_telegram_service_proto,
		knxfleetv1.File_knxfleet_v1_diagnostics_service_proto, knxfleetv1.File_knxfleet_v1_enrollment_service_proto,
	} {
		for i := range file.Services().Len() {
			service := file.Services().Get(i)
			for j := range service.Methods().Len() {
				method := service.Methods().Get(j)
				if built[string(method.Name())] {
					continue
				}
				missing++
				info, _ := refused(t, g.call(t, method), codes.Unimplemented, "NOT_BUILT", "")
				named := method.Input().Fields().ByName("building")
				if named != nil && named.Kind() == protoreflect.StringKind && !method.IsStreamingServer() && info.GetMetadata()["building"] != "hq" {
					t.Errorf("%s: metadata %v, want the building", method.FullName(), info.GetMetadata())
				}
			}
		}
	}
	if missing < 1 {
		t.Errorf("only %d methods are not built; correct this test", missing)
	}
}

// call calls a method, with building hq where it takes one, and returns its
// error.
func (g *gateway) call(t *testing.T, method protoreflect.MethodDescriptor) error {
	t.Helper()
	message := func(d protoreflect.MessageDescriptor) proto.Message {
		mt, err := protoregistry.GlobalTypes.FindMessageByName(d.FullName())
		noError(t, err)
		return mt.New().Interface()
	}
	request, response := message(method.Input()), message(method.Output())
	if f := method.Input().Fields().ByName("building"); f != nil && f.Kind() == protoreflect.StringKind {
		request.ProtoReflect().Set(f, protoreflect.ValueOfString("hq"))
	}
	name := fmt.Sprintf("/%s/%s", method.Parent().FullName(), method.Name())
	if !method.IsStreamingClient() && !method.IsStreamingServer() {
		return g.conn.Invoke(t.Context(), name, request, response)
	}
	stream, err := g.conn.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, name)
	noError(t, err)
	// The answer may be there before the request is sent; RecvMsg has it.
	_ = stream.SendMsg(request)
	noError(t, stream.CloseSend())
	return stream.RecvMsg(response)
}
