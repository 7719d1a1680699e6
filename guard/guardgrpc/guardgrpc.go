package guardgrpc

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/guard"
)

// Config says which methods are guarded how. The zero value guards all of them
// as the guard's own Config says.
//
// A method is written as gRPC does, "/package.Service/Method", and all of a
// service as "/package.Service/*". The method counts before the service.
type Config struct {
	// Public methods are open to everybody. A credential that comes is not
	// looked at.
	Public []string
	// Routes are methods that are guarded in their own way.
	Routes map[string]guard.Route
}

// ServerOptions are the interceptors for both sorts of calls. They can be
// combined with other interceptors, which come before them if their options do.
func ServerOptions(g *guard.Guard, cfg Config) []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(Unary(g, cfg)),
		grpc.ChainStreamInterceptor(Stream(g, cfg)),
	}
}

// Unary returns the interceptor of unary calls. Streams need [Stream]. It
// panics if a method of cfg is not written as one: a route that never matches
// would not be strict where somebody believes so.
func Unary(g *guard.Guard, cfg Config) grpc.UnaryServerInterceptor {
	r := newRoutes(cfg)
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		route, public := r.of(info.FullMethod)
		if public {
			return next(ctx, req)
		}
		ctx, end, err := admit(ctx, g, route)
		if err != nil {
			return nil, Status(err).Err()
		}
		defer end()
		resp, err := next(ctx, req)
		if over := ended(ctx); over != nil {
			return nil, Status(over).Err()
		}
		return resp, err
	}
}

// Stream returns the interceptor of streams. It panics as [Unary] does.
func Stream(g *guard.Guard, cfg Config) grpc.StreamServerInterceptor {
	r := newRoutes(cfg)
	return func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
		route, public := r.of(info.FullMethod)
		if public {
			return next(srv, ss)
		}
		ctx, end, err := admit(ss.Context(), g, route)
		if err != nil {
			return Status(err).Err()
		}
		return run(ctx, end, func() error { return next(srv, &stream{ss, ctx}) })
	}
}

// Validate reports the methods of cfg that srv does not have. Call it when all
// services are registered.
func (cfg Config) Validate(srv *grpc.Server) error {
	known := map[string]bool{}
	for service, info := range srv.GetServiceInfo() {
		known["/"+service+"/*"] = true
		for _, m := range info.Methods {
			known["/"+service+"/"+m.Name] = true
		}
	}
	var errs []error
	for _, name := range cfg.names() {
		if !known[name] {
			errs = append(errs, fmt.Errorf("guardgrpc: the server has no method %s", name))
		}
	}
	return errors.Join(errs...)
}

func (cfg Config) names() []string {
	names := slices.Clone(cfg.Public)
	for name := range cfg.Routes {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// routes is a Config that is ready to be asked.
type routes struct {
	public map[string]bool
	routes map[string]guard.Route
}

func newRoutes(cfg Config) routes {
	r := routes{map[string]bool{}, map[string]guard.Route{}}
	for _, name := range cfg.names() {
		if rest, ok := strings.CutPrefix(name, "/"); !ok || strings.Count(rest, "/") != 1 ||
			strings.HasPrefix(rest, "/") || strings.HasSuffix(rest, "/") {
			panic(fmt.Sprintf("guardgrpc: %q is no method such as /package.Service/Method or /package.Service/*", name))
		}
	}
	for _, name := range cfg.Public {
		r.public[name] = true
	}
	for name, route := range cfg.Routes {
		if r.public[name] {
			panic(fmt.Sprintf("guardgrpc: %s is both public and guarded", name))
		}
		r.routes[name] = route
	}
	return r
}

// of returns how a method is guarded, or that it is not.
func (r routes) of(method string) (route guard.Route, public bool) {
	for _, name := range []string{method, method[:strings.LastIndexByte(method, '/')+1] + "*"} {
		if r.public[name] {
			return guard.Route{}, true
		}
		if route, ok := r.routes[name]; ok {
			return route, false
		}
	}
	return guard.Route{}, false
}

// admit judges the credential of a call.
func admit(ctx context.Context, g *guard.Guard, route guard.Route) (context.Context, func(), error) {
	md, _ := metadata.FromIncomingContext(ctx)
	token, err := guard.Bearer.Find(&http.Request{Header: http.Header{"Authorization": md.Get("authorization")}})
	if err != nil {
		return nil, nil, err
	}
	if len(md.Get(strings.ToLower(guard.BackgroundHeader))) > 0 {
		route.Background = true
	}
	return g.Admit(ctx, token, route)
}

// ended returns why the guard has ended a call, and nil if it has not.
func ended(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	if cause := context.Cause(ctx); errors.Is(cause, curfew.ErrRevoked) || errors.Is(cause, curfew.ErrStale) {
		return cause
	}
	return nil
}

// retryAfter is what a client is told to wait for a guard that is stale.
const retryAfter = time.Second

// Status returns what a client is told about a call that was refused with err,
// for servers that call the guard themselves.
func Status(err error) *status.Status {
	code, reason, msg := codes.Unauthenticated, "INVALID_TOKEN", "token is invalid"
	var more []protoadapt.MessageV1
	switch {
	case errors.Is(err, curfew.ErrStale):
		code, reason, msg = codes.Unavailable, "VERIFIER_STALE", "it cannot be known now whether this session is live; try again"
		more = append(more, &errdetails.RetryInfo{RetryDelay: durationpb.New(retryAfter)})
	case errors.Is(err, curfew.ErrRevoked):
		reason, msg = "SESSION_REVOKED", "token has been invalidated"
	case errors.Is(err, curfew.ErrExpired):
		reason, msg = "TOKEN_EXPIRED", "token has expired"
	case errors.Is(err, guard.ErrNoCredential):
		reason, msg = "NO_CREDENTIAL", "a bearer token is required"
	}
	s := status.New(code, msg)
	more = append(more, &errdetails.ErrorInfo{Reason: reason, Domain: "curfew"})
	if with, err := s.WithDetails(more...); err == nil {
		return with
	}
	return s
}
