package guardgrpc_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/guard"
	"github.com/curfewhq/curfew/guard/guardgrpc"
	"github.com/curfewhq/curfew/guard/guardtest"
)

// promised is how long a running stream may outlive its session.
const promised = time.Second

type text = wrapperspb.StringValue

// echo is a service that was written without a compiler: Who says whose call it
// is, Wait ends with its context, Talk says everything twice, Deaf listens to
// nobody, Stuck waits for a message that does not come.
type echo struct {
	cause chan error // of the contexts that ended
	free  chan struct{}
}

func (e *echo) who(ctx context.Context, _ *text) (*text, error) {
	c, ok := guard.FromContext(ctx)
	if !ok {
		return wrapperspb.String("nobody"), nil
	}
	return wrapperspb.String(c.Subject), nil
}

func (e *echo) wait(ctx context.Context, _ *text) (*text, error) {
	e.free <- struct{}{}
	<-ctx.Done()
	e.cause <- context.Cause(ctx)
	return wrapperspb.String("done all the same"), nil
}

func (e *echo) talk(ss grpc.ServerStream) error {
	for {
		var m text
		if err := ss.RecvMsg(&m); err == io.EOF {
			return nil
		} else if err != nil {
			e.cause <- context.Cause(ss.Context())
			return err
		}
		if err := ss.SendMsg(&m); err != nil {
			return err
		}
	}
}

func (e *echo) deaf(ss grpc.ServerStream) error {
	for {
		_ = ss.SendMsg(wrapperspb.String("tick"))
		select {
		case <-e.free:
			return nil
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (e *echo) boom(grpc.ServerStream) error { panic(errBoom) }

var errBoom = errors.New("boom")

func unary(name string, f func(*echo, context.Context, *text) (*text, error)) grpc.MethodDesc {
	return grpc.MethodDesc{MethodName: name, Handler: func(srv any, ctx context.Context, dec func(any) error, ic grpc.UnaryServerInterceptor) (any, error) {
		var in text
		if err := dec(&in); err != nil {
			return nil, err
		}
		call := func(ctx context.Context, req any) (any, error) { return f(srv.(*echo), ctx, req.(*text)) }
		if ic == nil {
			return call(ctx, &in)
		}
		return ic(ctx, &in, &grpc.UnaryServerInfo{Server: srv, FullMethod: "/test.Echo/" + name}, call)
	}}
}

func streaming(name string, f func(*echo, grpc.ServerStream) error) grpc.StreamDesc {
	return grpc.StreamDesc{
		StreamName: name, ServerStreams: true, ClientStreams: true,
		Handler: func(srv any, ss grpc.ServerStream) error { return f(srv.(*echo), ss) },
	}
}

var echoDesc = grpc.ServiceDesc{
	ServiceName: "test.Echo", HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{
		unary("Who", (*echo).who), unary("Wait", (*echo).wait), unary("Strict", (*echo).who), unary("Open", (*echo).who),
		unary("Optional", (*echo).who), unary("Background", (*echo).who),
	},
	Streams: []grpc.StreamDesc{streaming("Talk", (*echo).talk), streaming("Deaf", (*echo).deaf), streaming("Boom", (*echo).boom)},
}

var testConfig = guardgrpc.Config{
	Public: []string{"/grpc.health.v1.Health/*", "/test.Echo/Open"},
	Routes: map[string]guard.Route{
		"/test.Echo/Strict":     {Mode: guard.Strict},
		"/test.Echo/Optional":   {Optional: true},
		"/test.Echo/Background": {Background: true},
	},
}

type rig struct {
	t    *testing.T
	a    *guardtest.Authority
	g    *guard.Guard
	echo *echo
	conn *grpc.ClientConn
}

func newRig(t *testing.T, lease time.Duration, outer ...grpc.ServerOption) *rig {
	t.Helper()
	r := &rig{t: t, a: guardtest.New(t), echo: &echo{make(chan error, 10), make(chan struct{}, 10)}}
	if lease > 0 {
		r.a.SetLease(lease)
	}
	r.g = r.a.Guard(t, guard.Config{})
	srv := grpc.NewServer(append(outer, guardgrpc.ServerOptions(r.g, testConfig)...)...)
	srv.RegisterService(&echoDesc, r.echo)
	healthpb.RegisterHealthServer(srv, health.NewServer())
	if err := testConfig.Validate(srv); err != nil {
		t.Fatal(err)
	}
	l := bufconn.Listen(1 << 16)
	go srv.Serve(l)
	t.Cleanup(srv.Stop)
	var err error
	r.conn, err = grpc.NewClient("passthrough:bufconn", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.conn.Close() })
	return r
}

// as returns a context of calls with a token.
func (r *rig) as(token string, more ...string) context.Context {
	ctx := metadata.AppendToOutgoingContext(r.t.Context(), more...)
	if token == "" {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
}

func (r *rig) call(ctx context.Context, method string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var out text
	err := r.conn.Invoke(ctx, "/test.Echo/"+method, wrapperspb.String(""), &out)
	return out.GetValue(), err
}

func (r *rig) stream(ctx context.Context, method string) grpc.ClientStream {
	r.t.Helper()
	s, err := r.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method)
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// wantRefused checks the status of a refusal and what it tells a client.
func wantRefused(t *testing.T, err error, code codes.Code, reason string) {
	t.Helper()
	s := status.Convert(err)
	if s.Code() != code {
		t.Fatalf("status %v, want %v", s, code)
	}
	var info, retry bool
	for _, d := range s.Details() {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			info = d.Reason == reason && d.Domain == "curfew"
		case *errdetails.RetryInfo:
			retry = d.RetryDelay.AsDuration() == time.Second
		}
	}
	if !info || retry != (code == codes.Unavailable) {
		t.Errorf("details %v, want reason %s", s.Details(), reason)
	}
}

func TestUnary(t *testing.T) {
	r := newRig(t, 0)
	token, session := r.a.Issue(guardtest.Token{Subject: "carol"})
	expired, _ := r.a.Issue(guardtest.Token{Life: -time.Minute})
	if got, err := r.call(r.as(token), "Who"); err != nil || got != "carol" {
		t.Errorf("%q, %v", got, err)
	}
	_, err := r.call(r.as(""), "Who")
	wantRefused(t, err, codes.Unauthenticated, "NO_CREDENTIAL")
	_, err = r.call(r.as("a.b.c"), "Who")
	wantRefused(t, err, codes.Unauthenticated, "INVALID_TOKEN")
	_, err = r.call(r.as(token, "authorization", "Bearer "+token), "Who")
	wantRefused(t, err, codes.Unauthenticated, "INVALID_TOKEN")
	_, err = r.call(r.as("", "authorization", "Basic YTpi"), "Who")
	wantRefused(t, err, codes.Unauthenticated, "NO_CREDENTIAL")
	_, err = r.call(r.as(expired), "Who")
	wantRefused(t, err, codes.Unauthenticated, "TOKEN_EXPIRED")
	r.a.Revoke(session)
	_, err = r.call(r.as(token), "Who")
	wantRefused(t, err, codes.Unauthenticated, "SESSION_REVOKED")
	if n := r.g.Status().Running; n != 0 {
		t.Errorf("%d running", n)
	}
}

func TestMethods(t *testing.T) {
	r := newRig(t, 0)
	token, session := r.a.Issue(guardtest.Token{})
	if got, err := r.call(r.as(""), "Open"); err != nil || got != "nobody" {
		t.Errorf("public: %q, %v", got, err)
	}
	if got, err := r.call(r.as("a.b.c"), "Open"); err != nil || got != "nobody" {
		t.Errorf("public, with a credential: %q, %v", got, err)
	}
	if _, err := healthpb.NewHealthClient(r.conn).Check(t.Context(), &healthpb.HealthCheckRequest{}); err != nil {
		t.Errorf("all of a service: %v", err)
	}
	watch, err := healthpb.NewHealthClient(r.conn).Watch(t.Context(), &healthpb.HealthCheckRequest{})
	if err == nil {
		_, err = watch.Recv()
	}
	if err != nil {
		t.Errorf("a stream of it: %v", err)
	}
	if got, err := r.call(r.as(""), "Optional"); err != nil || got != "nobody" {
		t.Errorf("optional: %q, %v", got, err)
	}
	if got, err := r.call(r.as(token), "Optional"); err != nil || got != guardtest.Subject {
		t.Errorf("optional, with a token: %q, %v", got, err)
	}
	before := r.a.Asked().Confirms
	if _, err := r.call(r.as(token), "Strict"); err != nil {
		t.Error(err)
	}
	if n := r.a.Asked().Confirms - before; n != 1 {
		t.Errorf("strict: %d questions", n)
	}
	r.a.Record(curfew.Revocation{Kind: curfew.KindSession, Target: session})
	_, err = r.call(r.as(token), "Strict")
	wantRefused(t, err, codes.Unauthenticated, "SESSION_REVOKED")
	_, err = r.call(r.as(token), "Optional")
	wantRefused(t, err, codes.Unauthenticated, "SESSION_REVOKED")
}

// Unavailable and not Unauthenticated: the client must keep its session.
func TestStale(t *testing.T) {
	r := newRig(t, 500*time.Millisecond)
	token, _ := r.a.Issue(guardtest.Token{})
	talk := r.stream(r.as(token), "/test.Echo/Talk")
	if err := talk.SendMsg(wrapperspb.String("x")); err != nil {
		t.Fatal(err)
	}
	if err := talk.RecvMsg(new(text)); err != nil {
		t.Fatal(err)
	}
	r.a.Down()
	// What runs ends a little later.
	wantRefused(t, talk.RecvMsg(new(text)), codes.Unavailable, "VERIFIER_STALE")
	for _, method := range []string{"Who", "Strict"} {
		_, err := r.call(r.as(token), method)
		wantRefused(t, err, codes.Unavailable, "VERIFIER_STALE")
	}
	wantRefused(t, r.stream(r.as(token), "/test.Echo/Talk").RecvMsg(new(text)), codes.Unavailable, "VERIFIER_STALE")
	if _, err := r.call(r.as(""), "Open"); err != nil {
		t.Error(err)
	}
	r.a.Resume()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, err := r.call(r.as(token), "Who"); err == nil {
			break
		} else if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// A running stream ends within a second, and a unary call does not answer what
// its session may no longer know.
func TestRunningCallsEnd(t *testing.T) {
	r := newRig(t, 0)
	other, _ := r.a.Issue(guardtest.Token{Subject: "dave"})
	theirs := r.stream(r.as(other), "/test.Echo/Talk")
	hello := func(s grpc.ClientStream) {
		t.Helper()
		var m text
		if err := s.SendMsg(wrapperspb.String("hello")); err != nil {
			t.Fatal(err)
		}
		if err := s.RecvMsg(&m); err != nil || m.GetValue() != "hello" {
			t.Fatalf("%q, %v", m.GetValue(), err)
		}
	}
	hello(theirs)
	wantCause := func() {
		t.Helper()
		var ended *guard.EndedError
		select {
		case cause := <-r.echo.cause:
			if !errors.As(cause, &ended) || ended.Reason != curfew.ReasonUser {
				t.Errorf("cause %v", cause)
			}
		case <-time.After(5 * time.Second):
			t.Error("the handler was not told")
		}
	}

	t.Run("stream", func(t *testing.T) {
		token, session := r.a.Issue(guardtest.Token{})
		mine := r.stream(r.as(token), "/test.Echo/Talk")
		hello(mine)
		r.a.Revoke(session)
		start := time.Now()
		wantRefused(t, mine.RecvMsg(new(text)), codes.Unauthenticated, "SESSION_REVOKED")
		if took := time.Since(start); took > promised {
			t.Errorf("it took %v", took)
		}
		wantCause()
		wantRefused(t, r.stream(r.as(token), "/test.Echo/Talk").RecvMsg(new(text)), codes.Unauthenticated, "SESSION_REVOKED")
	})
	t.Run("deaf stream", func(t *testing.T) {
		token, session := r.a.Issue(guardtest.Token{})
		deaf := r.stream(r.as(token), "/test.Echo/Deaf")
		if err := deaf.RecvMsg(new(text)); err != nil {
			t.Fatal(err)
		}
		r.a.Revoke(session)
		start := time.Now()
		var err error
		for err == nil {
			err = deaf.RecvMsg(new(text))
		}
		wantRefused(t, err, codes.Unauthenticated, "SESSION_REVOKED")
		if took := time.Since(start); took > promised {
			t.Errorf("it took %v", took)
		}
		if n := r.g.Status().Running; n != 2 { // it runs until it returns
			t.Errorf("%d running", n)
		}
		r.echo.free <- struct{}{}
	})
	t.Run("unary", func(t *testing.T) {
		token, session := r.a.Issue(guardtest.Token{})
		got := make(chan error, 1)
		go func() {
			_, err := r.call(r.as(token), "Wait")
			got <- err
		}()
		<-r.echo.free
		r.a.Revoke(session)
		wantRefused(t, <-got, codes.Unauthenticated, "SESSION_REVOKED")
		wantCause()
	})
	t.Run("client goes away", func(t *testing.T) {
		token, _ := r.a.Issue(guardtest.Token{})
		ctx, cancel := context.WithCancel(r.as(token))
		s := r.stream(ctx, "/test.Echo/Talk")
		hello(s)
		cancel()
		if err := s.RecvMsg(new(text)); status.Code(err) != codes.Canceled {
			t.Errorf("%v", err)
		}
		<-r.echo.cause
	})
	hello(theirs)
	if err := theirs.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if err := theirs.RecvMsg(new(text)); err != io.EOF {
		t.Errorf("somebody else's stream: %v", err)
	}
	for end := time.Now().Add(5 * time.Second); r.g.Status().Running != 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d running", r.g.Status().Running)
		}
	}
}

// Interceptors that recover are outside and see what handlers panic with.
func TestPanicsReachTheServersGoroutine(t *testing.T) {
	caught := make(chan any, 1)
	r := newRig(t, 0, grpc.ChainStreamInterceptor(func(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) (err error) {
		defer func() {
			if p := recover(); p != nil {
				caught <- p
				err = status.Error(codes.Internal, "caught")
			}
		}()
		return next(srv, ss)
	}))
	token, _ := r.a.Issue(guardtest.Token{})
	if err := r.stream(r.as(token), "/test.Echo/Boom").RecvMsg(new(text)); status.Code(err) != codes.Internal {
		t.Fatalf("%v", err)
	}
	err, ok := (<-caught).(error)
	if !ok || !errors.Is(err, errBoom) || !strings.Contains(err.Error(), "(*echo).boom") {
		t.Errorf("caught %v, want boom and where it began", err)
	}
	if n := r.g.Status().Running; n != 0 {
		t.Errorf("%d running", n)
	}
}

func TestActivity(t *testing.T) {
	r := newRig(t, 500*time.Millisecond)
	active, activeSession := r.a.Issue(guardtest.Token{})
	quiet, quietSession := r.a.Issue(guardtest.Token{})
	if _, err := r.call(r.as(quiet, "curfew-background", "1"), "Who"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.call(r.as(quiet), "Background"); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, err := r.call(r.as(active), "Who"); err != nil {
			t.Fatal(err)
		}
		if _, ok := r.a.LastSeen(activeSession); ok {
			break
		} else if time.Now().After(end) {
			t.Fatal("activity was not reported")
		}
	}
	if _, ok := r.a.LastSeen(quietSession); ok {
		t.Error("a call in the background was reported as activity")
	}
}

// A route that never matches would not be strict where somebody believes so.
func TestMisspeltMethods(t *testing.T) {
	for _, cfg := range []guardgrpc.Config{
		{Routes: map[string]guard.Route{"test.Echo/Who": {}}},
		{Routes: map[string]guard.Route{"/test.Echo": {}}},
		{Routes: map[string]guard.Route{"/test.Echo/": {}}},
		{Public: []string{"//Who"}},
		{Public: []string{"/a/b/c"}},
		{Public: []string{"/test.Echo/Who"}, Routes: map[string]guard.Route{"/test.Echo/Who": {}}},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%v was taken", cfg)
				}
			}()
			guardgrpc.Unary(nil, cfg)
		}()
	}
	srv := grpc.NewServer()
	srv.RegisterService(&echoDesc, &echo{})
	err := guardgrpc.Config{Public: []string{"/test.Echo/Whom", "/test.Other/*", "/test.Echo/*"}}.Validate(srv)
	if err == nil || !strings.Contains(err.Error(), "/test.Echo/Whom") || !strings.Contains(err.Error(), "/test.Other/*") || strings.Contains(err.Error(), "/test.Echo/*") {
		t.Errorf("error %v", err)
	}
}
