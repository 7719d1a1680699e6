package authority

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/audit"
	"github.com/curfewhq/curfew/internal/limit"
	"github.com/curfewhq/curfew/internal/password"
	"github.com/curfewhq/curfew/internal/store"
	"github.com/curfewhq/curfew/internal/token"
)

var (
	// ErrBadCredentials is a login that failed, for whatever reason: unknown,
	// disabled and wrong password look alike.
	ErrBadCredentials = errors.New("invalid login credentials")
	// ErrPasswordChangeRequired is a correct password that must be replaced
	// before it logs anybody in.
	ErrPasswordChangeRequired = errors.New("a new password is required")
	// ErrTooManySessions is a login refused at the limit of live sessions.
	ErrTooManySessions = errors.New("too many sessions")
	// ErrUnknownClient is a client_id that may not log in here.
	ErrUnknownClient = errors.New("unknown client")
	// ErrInvalidScope is a scope that may not be asked for.
	ErrInvalidScope = errors.New("invalid scope")
	// ErrSamePassword is a new password that equals the old one.
	ErrSamePassword = errors.New("the new password must differ from the old one")
)

// ThrottledError is a call refused by a limit.
type ThrottledError struct{ limit.Verdict }

// Error implements error.
func (e *ThrottledError) Error() string { return "too many requests" }

// LoginInput is a login with a password.
type LoginInput struct {
	Login       string // e-mail address or user name
	Password    string
	NewPassword string // where a change is required
	ClientID    string // empty = the default client
	Scope       string
	From        Origin
	// Cookie asks for a session that is carried by a cookie instead of tokens;
	// Remember for one that the browser keeps when it is closed.
	Cookie, Remember bool
	// Replaces is the cookie that the browser had. Its session ends with the
	// login: nobody could ever present it again.
	Replaces string
}

// Issued is what a login or refresh gives out.
type Issued struct {
	AccessToken  string
	ExpiresAt    time.Time
	ExpiresIn    time.Duration
	RefreshToken string
	// LogoutToken can do nothing but log out.
	LogoutToken string
	// Cookie is the value of the session's cookie where it has a new one. There
	// are no tokens then.
	Cookie  string
	Session curfew.Session
	User    store.User
}

// Login checks a password and begins a session. Every login gets a new session
// id of 128 random bits, so none can be fixed beforehand.
func (a *Authority) Login(ctx context.Context, in LoginInput) (Issued, error) {
	client, scope, err := a.checkClient(in.ClientID, in.Scope)
	if err != nil {
		return Issued{}, err
	}
	login := Fold(in.Login)
	user, err := a.store.UserByLogin(ctx, login)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return Issued{}, fmt.Errorf("looking up a user: %w", err)
	}
	account := login
	if user.ID != "" {
		account = user.ID // e-mail address and user name share one counter
	}
	user, err = a.checkPassword(ctx, account, user, in.Password, in.From)
	if errors.Is(err, ErrBadCredentials) {
		return Issued{}, a.failLogin(ctx, account, user.ID, in.From)
	}
	if err != nil {
		return Issued{}, err
	}
	newHash, err := a.newHash(ctx, user, in)
	if err != nil {
		return Issued{}, err
	}
	out, err := a.beginSession(ctx, user, newHash, client, scope, in)
	switch {
	case err == nil:
		a.observe.Login("success")
		a.loginPair.Clear(pairKey(account, in.From))
	case errors.Is(err, ErrBadCredentials):
		return Issued{}, a.failLogin(ctx, account, user.ID, in.From)
	}
	return out, err
}

// checkPassword returns ErrBadCredentials for unknown and disabled users and
// wrong passwords alike, after the same work: the password of a user who does
// not exist is checked against a dummy of the same cost.
//
// The limits are asked twice: before the queue for a hash, to answer at once,
// and when its turn has come, so that guesses sent in parallel do not all pass
// before the first of them has failed.
func (a *Authority) checkPassword(ctx context.Context, account string, user store.User, pw string, from Origin) (store.User, error) {
	allowed := func() error { return a.throttleLogin(ctx, account, user, from) }
	if err := allowed(); err != nil {
		return user, err
	}
	ok, upgrade, err := a.hasher.VerifyIf(ctx, allowed, user.PasswordHash, pw)
	var throttled *ThrottledError
	switch {
	case err == nil:
	case isBadPassword(err):
		return user, ErrBadCredentials
	case errors.As(err, &throttled), errors.Is(err, password.ErrBusy), ctx.Err() != nil:
		return user, err
	default:
		// The stored hash cannot be read. To the outside that is a wrong
		// password; the operator has to know.
		a.logger.Error("a stored password hash cannot be checked; set a new password", "user", user.ID, "err", err)
		return user, ErrBadCredentials
	}
	if !ok || user.ID == "" || user.Status != store.UserActive {
		return user, ErrBadCredentials
	}
	if upgrade {
		hash, err := a.hasher.Hash(ctx, pw)
		switch {
		case isBadPassword(err):
			// Too short by today's rules, but it is the user's password.
		case err != nil:
			return user, err
		default:
			if user, err = a.rehash(ctx, user, hash); err != nil {
				return user, err
			}
		}
	}
	return user, nil
}

// rehash stores a stronger hash of the same password.
func (a *Authority) rehash(ctx context.Context, user store.User, hash string) (store.User, error) {
	old := user.PasswordHash
	_, err := a.decide(ctx, func() (store.Change, error) {
		var err error
		if user, err = a.store.User(ctx, user.ID); err != nil {
			return store.Change{}, err
		}
		if user.PasswordHash != old || user.Status != store.UserActive {
			return store.Change{}, ErrBadCredentials // changed or disabled meanwhile
		}
		user.PasswordHash = hash
		e := a.entry(audit.PasswordRehashed, System, Origin{})
		e.Subject = user.ID
		return store.Change{UpdateUsers: []store.UserUpdate{{User: user}}, Audit: []audit.Entry{e}}, nil
	})
	user.Version++
	return user, err
}

// newHash hashes the new password that a required change comes with.
func (a *Authority) newHash(ctx context.Context, user store.User, in LoginInput) (string, error) {
	if !user.MustChange {
		return "", nil
	}
	if in.NewPassword == "" {
		return "", ErrPasswordChangeRequired
	}
	if in.NewPassword == in.Password {
		return "", ErrSamePassword
	}
	return a.hasher.Hash(ctx, in.NewPassword)
}

// beginSession commits the session on condition that the user has not changed
// since the password was checked. Where it has, but in nothing that matters to
// the password, the login goes on: it is then ordered after that change.
func (a *Authority) beginSession(ctx context.Context, user store.User, newHash, client, scope string, in LoginInput) (Issued, error) {
	start, checked := time.Now(), user.PasswordHash
	var s curfew.Session
	var cookie string
	var replaced int64
	first := true
	done, err := a.decide(ctx, func() (store.Change, error) {
		var c store.Change
		if !first {
			var err error
			if user, err = a.store.User(ctx, user.ID); err != nil {
				return c, err
			}
		}
		first = false
		if user.PasswordHash != checked || user.Status != store.UserActive {
			return c, ErrBadCredentials
		}
		if user.MustChange && newHash == "" {
			// Declared compromised since the password was checked.
			return c, ErrPasswordChangeRequired
		}
		s = a.newSession(user, client, scope, in.From)
		if in.Cookie {
			cookie, s.CookieHash = newCookie(s.ID, in.Remember)
		}
		c.InsertSessions = []curfew.Session{s}
		e := a.entry(audit.LoginSucceeded, UserActor(user.ID), in.From)
		e.Subject, e.Session, e.ClientID = user.ID, s.ID, client
		c.Audit = []audit.Entry{e}
		if newHash != "" {
			updated := user
			updated.PasswordHash, updated.MustChange, updated.UpdatedAt = newHash, false, s.CreatedAt
			c.UpdateUsers = []store.UserUpdate{{User: updated}}
			changed := a.entry(audit.PasswordChanged, UserActor(user.ID), in.From)
			changed.Subject = user.ID
			c.Audit = append(c.Audit, changed)
		}
		if err := a.endReplaced(ctx, &c, in); err != nil {
			return c, err
		}
		replaced = int64(len(c.UpdateSessions))
		if newHash == "" && a.cfg.MaxSessions == 0 {
			c.RequireUsers = []store.UserVersion{{ID: user.ID, Version: user.Version}}
			return c, nil
		}
		// Logins that count sessions must exclude each other, so they write
		// the user; otherwise two of them would both see room for one.
		if newHash == "" {
			c.UpdateUsers = []store.UserUpdate{{User: user}}
		}
		err := a.makeRoom(ctx, &c, user, in.From)
		replaced = int64(len(c.UpdateSessions))
		return c, err
	})
	if err != nil {
		return Issued{}, err
	}
	s.Epoch, s.Version = done.Head.Seq, 1
	if replaced > 0 {
		// A login promises nothing about the sessions that it replaced, and must
		// not wait for a verifier that is cut off.
		if _, err := a.enforce(RespondAsync(ctx), start, done.Head.Seq, replaced, curfew.ReasonReplaced); err != nil {
			return Issued{}, err
		}
	}
	if in.Cookie {
		return Issued{Cookie: cookie, Session: s, User: user}, nil
	}
	return a.issue(s, user)
}

// endReplaced ends the session of the cookie that a login replaces.
func (a *Authority) endReplaced(ctx context.Context, c *store.Change, in LoginInput) error {
	if in.Replaces == "" {
		return nil
	}
	old, err := a.cookieRow(ctx, in.Replaces)
	if errors.Is(err, curfew.ErrInvalidToken) || err == nil && old.Ended() {
		return nil
	}
	if err != nil {
		return err
	}
	a.endSession(c, old, curfew.ReasonReplaced, audit.SessionLogout, UserActor(old.Subject), in.From)
	return nil
}

// makeRoom ends the oldest sessions where the policy says so, or refuses.
func (a *Authority) makeRoom(ctx context.Context, c *store.Change, user store.User, from Origin) error {
	if a.cfg.MaxSessions == 0 {
		return nil
	}
	live, err := a.liveSessions(ctx, user)
	if err != nil {
		return err
	}
	live = slices.DeleteFunc(live, func(s curfew.Session) bool { // by endReplaced
		return slices.ContainsFunc(c.UpdateSessions, func(u store.SessionUpdate) bool { return u.ID == s.ID })
	})
	if len(live) < a.cfg.MaxSessions {
		return nil
	}
	if !a.cfg.EndOldest {
		return ErrTooManySessions
	}
	slices.SortFunc(live, func(x, y curfew.Session) int { return x.CreatedAt.Compare(y.CreatedAt) })
	for _, s := range live[:len(live)-a.cfg.MaxSessions+1] {
		a.endSession(c, s, curfew.ReasonReplaced, audit.SessionLogout, System, from)
	}
	return nil
}

func (a *Authority) newSession(user store.User, client, scope string, from Origin) curfew.Session {
	now := a.clock.now()
	s := curfew.Session{
		ID: curfew.NewID(), Subject: user.ID, ClientID: client, Scope: scope,
		CreatedAt: now, AuthTime: now, LastSeenAt: now, ExpiresAt: now.Add(a.cfg.Lifetime), RotatedAt: now,
		Device: deviceName(from.UserAgent), IP: from.IP, UserAgent: clip(from.UserAgent, maxUserAgent), Counter: 1,
	}
	s.TokenExp = a.tokenExp(s, now)
	return s
}

// tokenExp is when an access token issued now expires: in whole seconds, and
// never after its session.
func (a *Authority) tokenExp(s curfew.Session, now time.Time) time.Time {
	exp := now.Add(a.cfg.AccessLife)
	if exp.After(s.ExpiresAt) {
		exp = s.ExpiresAt
	}
	return exp.Truncate(time.Second)
}

// issue signs the access token of a session as it stands in its row.
func (a *Authority) issue(s curfew.Session, user store.User) (Issued, error) {
	r := a.keys.Load()
	now := a.clock.now()
	exp := s.TokenExp.Unix()
	c := &token.Claims{
		Issuer: a.cfg.Issuer, Subject: s.Subject, Audience: []string{a.cfg.Audience},
		// In the last second of a session exp is now; iat must be before it.
		Exp: exp, Iat: min(now.Unix(), exp-1), AuthTime: later(s.AuthTime, s.ReauthAt).Unix(),
		ID: curfew.NewID(), ClientID: s.ClientID, Session: s.ID, Ver: s.Epoch, Scope: s.Scope,
		Email: user.Email, Roles: user.Roles, KeyID: r.signer.KeyID(),
	}
	raw, err := r.signer.Sign(*c)
	if err != nil {
		return Issued{}, fmt.Errorf("signing an access token: %w", err)
	}
	a.verifier.Remember(raw, c)
	refresh, err := encodeRefresh(r.refresh, s.ID, s.Counter)
	if err != nil {
		return Issued{}, err
	}
	logout, err := encodeLogout(r.refresh, s.ID)
	if err != nil {
		return Issued{}, err
	}
	return Issued{
		LogoutToken: logout, AccessToken: raw, ExpiresAt: s.TokenExp, ExpiresIn: max(s.TokenExp.Sub(now), 0),
		RefreshToken: refresh, Session: s, User: user,
	}, nil
}

func (a *Authority) checkClient(client, scope string) (string, string, error) {
	if client == "" {
		client = a.cfg.DefaultClient
	}
	if !validClient(client) || len(a.cfg.Clients) > 0 && client != a.cfg.DefaultClient && !slices.Contains(a.cfg.Clients, client) {
		return "", "", ErrUnknownClient
	}
	words := strings.Fields(scope)
	for _, w := range words {
		if !slices.Contains(a.cfg.Scopes, w) {
			return "", "", ErrInvalidScope
		}
	}
	return client, strings.Join(words, " "), nil
}

// validClient keeps client ids to what is harmless in logs, headers and claims.
func validClient(id string) bool {
	if len(id) == 0 || len(id) > 64 {
		return false
	}
	return strings.IndexFunc(id, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("._-:/", r))
	}) < 0
}

func pairKey(account string, from Origin) string { return account + "\x00" + from.LimitKey }

// throttleLogin refuses a login after too many failures: from one address, of
// one account from one address, and of one account from anywhere. The last is
// no way to lock somebody out: an address that has a live session of the
// account already is not counted among the strangers.
func (a *Authority) throttleLogin(ctx context.Context, account string, user store.User, from Origin) error {
	v := a.loginAddress.Peek(from.LimitKey)
	if v.Allowed {
		v = a.loginPair.Peek(pairKey(account, from))
	}
	if v.Allowed {
		if v = a.loginAccount.Peek(account); !v.Allowed && a.isFamiliar(ctx, user, from) {
			v.Allowed = true
		}
	}
	if v.Allowed {
		return nil
	}
	a.observe.Login("throttled")
	return &ThrottledError{v}
}

func (a *Authority) isFamiliar(ctx context.Context, user store.User, from Origin) bool {
	if user.ID == "" || from.IP == "" {
		return false
	}
	n, err := a.store.CountSessions(ctx, store.SessionFilter{Subject: user.ID, IP: from.IP, Live: true})
	return err == nil && n > 0
}

// failLogin counts and records a failed login. It takes the same path for users
// that exist and for those that do not.
func (a *Authority) failLogin(ctx context.Context, account, user string, from Origin) error {
	a.observe.Login("failure")
	a.loginAddress.Add(from.LimitKey)
	a.loginPair.Add(pairKey(account, from))
	a.loginAccount.Add(account)
	if _, err := a.decide(ctx, func() (store.Change, error) {
		e := a.entry(audit.LoginFailed, Anonymous, from)
		e.Subject = user
		return store.Change{Audit: []audit.Entry{e}}, nil
	}); err != nil {
		return err
	}
	return ErrBadCredentials
}
