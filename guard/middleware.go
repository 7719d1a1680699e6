package guard

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"github.com/curfewhq/curfew"
)

// Route says how one route is guarded. The zero value is as the Config says.
type Route struct {
	// Mode overrides that of the Config.
	Mode Mode
	// Optional lets requests without a credential through; [FromContext] then
	// has nothing. A credential that does not count is refused all the same: it
	// was somebody, and to treat it as nobody would hide a logout.
	Optional bool
	// Background says that requests here are no activity of a person, such as a
	// page that polls. They do not keep an idle session alive. A request can
	// say so of itself, see [BackgroundHeader].
	Background bool
}

// BackgroundHeader, with any value, marks a request as none of a person's doing.
const BackgroundHeader = "Curfew-Background"

// Middleware lets requests through whose credential counts, and refuses the
// others: 401 if it does not count, 503 if the guard cannot know. The request's
// context has the claims, see [FromContext], and is cancelled with the cause
// [EndedError] when the session ends while the request runs. From then on its
// handler writes nothing any more: where it has written nothing yet the answer is
// the refusal, and otherwise the connection is broken off if an attempt to write
// shows that the answer is not whole. Half a second later the connection is
// closed if the handler still runs.
func (g *Guard) Middleware(next http.Handler) http.Handler { return g.Route(Route{})(next) }

// Route returns the middleware of a route that is guarded in its own way.
func (g *Guard) Route(route Route) func(http.Handler) http.Handler {
	if route.Mode == Default {
		route.Mode = g.cfg.Mode
	}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { g.serve(w, r, next, &route) })
	}
}

func (g *Guard) serve(w http.ResponseWriter, r *http.Request, next http.Handler, route *Route) {
	under := g.opaque.Load()
	c, err := g.check(r, route.Mode)
	if err == ErrNoCredential && route.Optional {
		g.cfg.Metrics.Checked(Anonymous)
		next.ServeHTTP(w, r)
		return
	}
	if err != nil {
		g.refuse(w, r, err)
		return
	}
	resp := &response{ResponseWriter: w}
	ctx, work, err := g.enter(r.Context(), c, resp, under)
	if err != nil {
		g.refuse(w, r, err)
		return
	}
	defer func() {
		if resp.returned() {
			work.remove()
		}
		work.cancel(nil)
	}()
	g.cfg.Metrics.Checked(Accepted)
	if !route.Background && r.Header[BackgroundHeader] == nil {
		g.follower.Seen(c.Session)
	}
	next.ServeHTTP(resp, r.WithContext(ctx))
	if over := work.over.Load(); over != nil {
		resp.finish(func(w http.ResponseWriter) { g.answer(w, r, *over) })
	}
}

var crossOrigin = http.NewCrossOriginProtection()

// check finds the credential of a request and judges it.
func (g *Guard) check(r *http.Request, mode Mode) (*Claims, error) {
	for i := range g.cfg.Sources {
		source := &g.cfg.Sources[i]
		raw, err := source.Find(r)
		if err != nil {
			return nil, err
		}
		if raw == "" {
			continue
		}
		if source.Ambient && fromElsewhere(r) {
			return nil, ErrCrossOrigin
		}
		return g.verify(r.Context(), raw, mode)
	}
	return nil, ErrNoCredential
}

// fromElsewhere reports whether another site caused a request that may change
// something.
func fromElsewhere(r *http.Request) bool {
	if r.Header["Upgrade"] != nil {
		// Cross-site WebSocket hijacking (CWE-1385): the handshake is a GET,
		// and what comes after it is not only read.
		shaking := *r
		shaking.Method = http.MethodPost
		r = &shaking
	}
	return crossOrigin.Check(r) != nil
}

// Admit is Verify and Enter in one: it is what Middleware does with a request,
// for transports other than HTTP. Without a credential, and where the route says
// that none is needed, the context is ctx and there are no claims. The caller
// calls end when the work is done.
func (g *Guard) Admit(ctx context.Context, credential string, route Route) (_ context.Context, end func(), err error) {
	if route.Mode == Default {
		route.Mode = g.cfg.Mode
	}
	if credential == "" {
		if route.Optional {
			g.cfg.Metrics.Checked(Anonymous)
			return ctx, func() {}, nil
		}
		g.cfg.Metrics.Checked(NoCredential)
		return nil, nil, ErrNoCredential
	}
	under := g.opaque.Load()
	var w *work
	c, err := g.verify(ctx, credential, route.Mode)
	if err == nil {
		ctx, w, err = g.enter(ctx, c, nil, under)
	}
	g.cfg.Metrics.Checked(verdictOf(err))
	if err != nil {
		return nil, nil, err
	}
	if !route.Background {
		g.follower.Seen(c.Session)
	}
	return ctx, w.finish, nil
}

// Enter ties work to a session that was verified: the context that it returns
// has the claims, and is cancelled when the session ends. The caller calls end
// when the work is done. Its error is that of a session that has ended since it
// was verified.
func (g *Guard) Enter(ctx context.Context, c *Claims) (_ context.Context, end func(), err error) {
	ctx, w, err := g.enter(ctx, c, nil, g.opaque.Load())
	if err != nil {
		return nil, nil, err
	}
	return ctx, w.finish, nil
}

// finish is the end of work that has no response.
func (w *work) finish() {
	w.remove()
	w.cancel(nil)
}

func (g *Guard) enter(ctx context.Context, c *Claims, resp *response, under *opaqueCache) (context.Context, *work, error) {
	inner, cancel := context.WithCancelCause(ctx)
	w := &work{claims: c, cancel: cancel, response: resp}
	if resp != nil {
		resp.work = w
	}
	g.running.add(w)
	// What was revoked before the work was registered has not found it, nor has
	// another log that came since it was verified.
	err := g.judge(c)
	if err == nil && g.opaque.Load() != under {
		err = errReplaced
	}
	if err != nil {
		w.remove()
		cancel(nil)
		return nil, nil, err
	}
	return &claimsContext{inner, w}, w, nil
}

// claimsContext is a context with claims, in one allocation.
type claimsContext struct {
	context.Context
	work *work
}

type (
	claimsKey struct{}
	workKey   struct{}
)

// Value implements [context.Context].
func (c *claimsContext) Value(key any) any {
	switch key {
	case claimsKey{}:
		return c.work.claims
	case workKey{}:
		return c.work
	}
	return c.Context.Value(key)
}

// FromContext returns the claims of the request that ctx belongs to. ok is
// false where no guard has let it through, or it came without a credential.
func FromContext(ctx context.Context) (c *Claims, ok bool) {
	c, ok = ctx.Value(claimsKey{}).(*Claims)
	return c, ok
}

// Outlive lets the request that ctx belongs to go on when its session ends. It
// is for handlers that end the session themselves and have something to say
// afterwards, such as the page that says that it is over: otherwise theirs would
// be among the requests that a logout cuts off. Nothing stops such a handler any
// more, the loss of the lease neither. Outlive reports false where no guard has
// let the request through, or its session has ended already.
func Outlive(ctx context.Context) bool {
	w, ok := ctx.Value(workKey{}).(*work)
	if !ok {
		return false
	}
	w.remove()
	// Whoever has found it in the list before marks it all the same.
	return w.over.Load() == nil
}

func (g *Guard) refuse(w http.ResponseWriter, r *http.Request, err error) {
	g.cfg.Metrics.Checked(verdictOf(err))
	g.answer(w, r, err)
}

func (g *Guard) answer(w http.ResponseWriter, r *http.Request, err error) {
	if g.cfg.Refused != nil {
		g.cfg.Refused(w, r, err)
		return
	}
	Refuse(w, err)
}

// Refuse writes the answer to a request that is not let through: 401 with a
// challenge of RFC 6750, 403, or 503 with Retry-After. The body is the JSON of
// the authority's own errors.
func Refuse(w http.ResponseWriter, err error) {
	status, code, msg := http.StatusUnauthorized, "invalid_token", "Token is invalid"
	challenge := `Bearer realm="curfew", error="invalid_token"`
	switch {
	case errors.Is(err, curfew.ErrStale):
		status, code, msg = http.StatusServiceUnavailable, "verifier_stale", "It cannot be known now whether this session is live; try again"
		challenge = ""
		w.Header().Set("Retry-After", "1")
	case errors.Is(err, ErrCrossOrigin):
		status, code, msg, challenge = http.StatusForbidden, "cross_origin", "Another site has caused this request", ""
	case errors.Is(err, curfew.ErrRevoked):
		code, msg = "session_revoked", "Token has been invalidated"
	case errors.Is(err, curfew.ErrExpired):
		code, msg = "token_expired", "Token has expired"
	case errors.Is(err, ErrNoCredential):
		code, msg, challenge = "no_credential", "A bearer token is required", `Bearer realm="curfew"`
	}
	if challenge != "" {
		w.Header().Set("WWW-Authenticate", challenge)
	}
	body, _ := json.Marshal(struct { // texts and a number: it cannot fail
		Code      int    `json:"code"`
		ErrorCode string `json:"error_code"`
		Msg       string `json:"msg"`
	}{status, code, msg})
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)+1))
	w.WriteHeader(status)
	w.Write(append(body, '\n'))
}
