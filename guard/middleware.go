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
// [EndedError] when the session ends while the request runs.
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
	ctx, work, err := g.enter(r.Context(), c, resp)
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
		if source.Ambient && crossOrigin.Check(r) != nil {
			return nil, ErrCrossOrigin
		}
		return g.verify(r.Context(), raw, mode)
	}
	return nil, ErrNoCredential
}

// Enter ties work to a session that was verified: the context that it returns
// has the claims, and is cancelled when the session ends. The caller calls end
// when the work is done. It is what Middleware does with a request, for
// transports other than HTTP. Its error is that of a session that has ended
// since it was verified.
func (g *Guard) Enter(ctx context.Context, c *Claims) (_ context.Context, end func(), err error) {
	ctx, w, err := g.enter(ctx, c, nil)
	if err != nil {
		return nil, nil, err
	}
	return ctx, func() {
		w.remove()
		w.cancel(nil)
	}, nil
}

func (g *Guard) enter(ctx context.Context, c *Claims, resp *response) (context.Context, *work, error) {
	inner, cancel := context.WithCancelCause(ctx)
	w := &work{claims: c, cancel: cancel, response: resp}
	if resp != nil {
		resp.ctx, resp.work = inner, w
	}
	g.running.add(w)
	// What was revoked before the work was registered has not found it.
	if err := g.verifier.Denied(c); err != nil {
		w.remove()
		cancel(nil)
		return nil, nil, err
	}
	return &claimsContext{inner, c}, w, nil
}

// claimsContext is a context with claims, in one allocation.
type claimsContext struct {
	context.Context
	claims *Claims
}

type claimsKey struct{}

// Value implements [context.Context].
func (c *claimsContext) Value(key any) any {
	if key == (claimsKey{}) {
		return c.claims
	}
	return c.Context.Value(key)
}

// FromContext returns the claims of the request that ctx belongs to. ok is
// false where no guard has let it through, or it came without a credential.
func FromContext(ctx context.Context) (c *Claims, ok bool) {
	c, ok = ctx.Value(claimsKey{}).(*Claims)
	return c, ok
}

func (g *Guard) refuse(w http.ResponseWriter, r *http.Request, err error) {
	g.cfg.Metrics.Checked(verdictOf(err))
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
