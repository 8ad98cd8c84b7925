package api

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// query is what a REST call has in its URL behind the path.
type query struct{ method, raw string }

type queryKey struct{}

// withQuery keeps the query of a REST call for checkQuery, which learns which gRPC method
// the call is.
func withQuery(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery != "" {
			r = r.WithContext(context.WithValue(r.Context(), queryKey{}, query{r.Method, r.URL.RawQuery}))
		}
		next.ServeHTTP(w, r)
	})
}

// queryChecks refuse REST calls with a query that the gateway would ignore: a parameter
// that is written wrong may be the one that makes the call safe, as an etag does.
func queryChecks() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, request, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			if err := checkQuery(ctx, method); err != nil {
				return toStatus(err, "")
			}
			return invoke(ctx, method, request, reply, cc, opts...)
		}),
		grpc.WithChainStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, stream grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
			if err := checkQuery(ctx, method); err != nil {
				return nil, toStatus(err, "")
			}
			return stream(ctx, desc, cc, method, opts...)
		}),
	}
}

// checkQuery checks the query of the REST call that calls a gRPC method.
func checkQuery(ctx context.Context, method string) error {
	q, ok := ctx.Value(queryKey{}).(query)
	if !ok {
		return nil
	}
	values, err := url.ParseQuery(q.raw)
	if err != nil {
		return invalid("query", "cannot be read: %w", err)
	}
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	slices.Sort(names)
	inputs, err := inputOf(method)
	if err != nil {
		return err
	}
	pattern, _ := runtime.HTTPPathPattern(ctx)
	for _, name := range names {
		if err := checkParameter(q.method, pattern, name, inputs); err != nil {
			return err
		}
	}
	return nil
}

// errNoMethod cannot come: the gateway calls methods of the contract.
var errNoMethod = errors.New("REST: a call of no known method")

// inputOf describes the request of a gRPC method, "/package.Service/Method".
func inputOf(method string) (protoreflect.MessageDescriptor, error) {
	name := strings.ReplaceAll(strings.TrimPrefix(method, "/"), "/", ".")
	found, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(name))
	if err != nil {
		return nil, errNoMethod
	}
	described, ok := found.(protoreflect.MethodDescriptor)
	if !ok {
		return nil, errNoMethod
	}
	return described.Input(), nil
}

func checkParameter(method, pattern, name string, request protoreflect.MessageDescriptor) error {
	if method == http.MethodPost {
		return invalid(shorten(name), "stands in the URL, where this call takes no parameters; its fields belong into the body")
	}
	bound := boundBy(pattern)
	first, _, _ := strings.Cut(name, ".")
	if field := fieldOf(request, first); field != nil && bound[string(field.Name())] {
		return invalid(shorten(name), "is told by the path or the body of this call, and not by a parameter")
	}
	if isParameter(request, name) {
		return nil
	}
	var known []string
	for i := range request.Fields().Len() {
		if field := request.Fields().Get(i); !bound[string(field.Name())] {
			known = append(known, field.JSONName())
		}
	}
	want := "it takes none"
	if len(known) > 0 {
		want = "it takes " + strings.Join(known, ", ")
	}
	return invalid(shorten(name), "is no parameter of this call; %s", want)
}

// variable is a field in the pattern of a path, such as {building.id}.
var variable = regexp.MustCompile(`\{([a-z_]+)[^}]*\}`)

// boundBy gives the fields of a request that a path sets. One of which it sets a part is
// the body of the call (see rest.yaml).
func boundBy(pattern string) map[string]bool {
	bound := make(map[string]bool)
	for _, found := range variable.FindAllStringSubmatch(pattern, -1) {
		bound[found[1]] = true
	}
	return bound
}

func fieldOf(message protoreflect.MessageDescriptor, name string) protoreflect.FieldDescriptor {
	if field := message.Fields().ByTextName(name); field != nil {
		return field
	}
	return message.Fields().ByJSONName(name)
}

// isParameter reports whether a parameter's name leads to a field that a query can set: in
// names of JSON or of the contract, of an entry of a map with its key in brackets.
func isParameter(message protoreflect.MessageDescriptor, name string) bool {
	entry, _, inBrackets := strings.Cut(name, "[")
	path := strings.Split(entry, ".")
	for i, part := range path {
		field := fieldOf(message, part)
		switch {
		case field == nil:
			return false
		case i == len(path)-1:
			return field.IsMap() == inBrackets
		case field.Message() == nil || field.Cardinality() == protoreflect.Repeated:
			return false
		}
		message = field.Message()
	}
	return false
}
