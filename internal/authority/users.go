package authority

import (
	"context"
	"errors"
	"fmt"
	"net/mail"
	"slices"
	"strings"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/audit"
	"github.com/curfewhq/curfew/internal/password"
	"github.com/curfewhq/curfew/internal/store"
	"github.com/curfewhq/curfew/internal/token"
	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

var (
	// ErrInvalidUser is an account that cannot be made as asked; the text says why.
	ErrInvalidUser = errors.New("invalid user")
	// ErrReauthRequired is a sensitive call that needs the password again.
	ErrReauthRequired = errors.New("reauthentication is required")
)

// reauthWindow is how long a reauthentication counts.
const reauthWindow = 5 * time.Minute

// Fold returns the form in which login names are stored and looked up: NFKC and
// case-folded, so that two spellings that look the same are one account
// (CVE-2019-19844).
func Fold(login string) string {
	return norm.NFKC.String(cases.Fold().String(norm.NFKC.String(strings.TrimSpace(login))))
}

// NewUser is an account to be made.
type NewUser struct {
	Email    string
	Username string
	Name     string
	Password string
	// PasswordHash is an encoded hash from elsewhere, instead of Password. It
	// is upgraded at the first login.
	PasswordHash string
	Roles        []string
	MustChange   bool
}

// CreateUser makes an account. A name that is taken is [store.ErrExists].
func (a *Authority) CreateUser(ctx context.Context, in NewUser, by Actor, from Origin) (store.User, error) {
	now := a.clock.now()
	u := store.User{
		ID: curfew.NewID(), Email: strings.TrimSpace(in.Email), EmailFold: Fold(in.Email),
		Username: strings.TrimSpace(in.Username), UsernameFold: Fold(in.Username), Name: clip(in.Name, 200),
		Roles: slices.Clone(in.Roles), Status: store.UserActive, MustChange: in.MustChange, CreatedAt: now, UpdatedAt: now, Version: 1,
	}
	slices.Sort(u.Roles)
	if err := validUser(u); err != nil {
		return u, err
	}
	var err error
	switch {
	case in.PasswordHash != "" && in.Password != "":
		return u, fmt.Errorf("%w: give a password or a password hash, not both", ErrInvalidUser)
	case in.PasswordHash != "":
		if err := password.ValidEncoded(in.PasswordHash); err != nil {
			return u, fmt.Errorf("%w: %w", ErrInvalidUser, err)
		}
		u.PasswordHash = in.PasswordHash
	default:
		if u.PasswordHash, err = a.hasher.Hash(ctx, in.Password); err != nil {
			return u, err
		}
	}
	done, err := a.decide(ctx, func() (store.Change, error) {
		e := a.entry(audit.UserCreated, by, from)
		e.Subject = u.ID
		return store.Change{InsertUsers: []store.User{u}, Audit: []audit.Entry{e}}, nil
	})
	u.Epoch = done.Head.Seq
	return u, err
}

func validUser(u store.User) error {
	if addr, err := mail.ParseAddress(u.Email); err != nil || addr.Address != u.Email || len(u.Email) > 254 {
		return fmt.Errorf("%w: %q is not an e-mail address", ErrInvalidUser, clip(u.Email, 80))
	}
	if strings.ContainsRune(u.Username, '@') || len(u.Username) > 64 || hasControl(u.Username) {
		return fmt.Errorf("%w: a user name has at most 64 characters, no @ and no control characters", ErrInvalidUser)
	}
	if hasControl(u.Name) {
		return fmt.Errorf("%w: a name has no control characters", ErrInvalidUser)
	}
	for _, r := range u.Roles {
		if !validClient(r) {
			return fmt.Errorf("%w: role %q: letters, digits and ._-:/ only", ErrInvalidUser, clip(r, 80))
		}
	}
	if len(u.Roles) > 32 {
		return fmt.Errorf("%w: more than 32 roles", ErrInvalidUser)
	}
	return nil
}

func hasControl(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\uFFFD' }) >= 0
}

// FindUser finds a user by id, e-mail address or user name.
func (a *Authority) FindUser(ctx context.Context, name string) (store.User, error) {
	if curfew.ValidID(name) {
		u, err := a.store.User(ctx, name)
		if !errors.Is(err, store.ErrNotFound) {
			return u, err
		}
	}
	u, err := a.store.UserByLogin(ctx, Fold(name))
	if err != nil {
		return u, fmt.Errorf("user %q: %w", clip(name, 80), err)
	}
	return u, nil
}

// Users lists the accounts.
func (a *Authority) Users(ctx context.Context, page store.Page) ([]store.User, error) {
	return a.store.Users(ctx, page)
}

// User returns the account of verified claims.
func (a *Authority) User(ctx context.Context, c *token.Claims) (store.User, error) {
	return a.store.User(ctx, c.Subject)
}

// LogoutUser ends everything of a user. With reason suspicious or compromised
// the next login must set a new password.
func (a *Authority) LogoutUser(ctx context.Context, id string, why curfew.Reason, note string, by Actor, from Origin) (Receipt, error) {
	e := subjectEnding{user: id, reason: why, event: audit.SessionLogout, by: by, from: from, detail: clip(note, 500)}
	if why == curfew.ReasonCompromised || why == curfew.ReasonSuspicious {
		e.change = func(u *store.User) error { u.MustChange = true; return nil }
	}
	r, _, _, err := a.endSubject(ctx, e)
	return r, err
}

// DisableUser keeps a user out and ends everything of it.
func (a *Authority) DisableUser(ctx context.Context, id string, by Actor, from Origin) (Receipt, error) {
	r, _, _, err := a.endSubject(ctx, subjectEnding{
		user: id, reason: curfew.ReasonDisabled, event: audit.UserDisabled, by: by, from: from,
		change: func(u *store.User) error { u.Status = store.UserDisabled; return nil },
	})
	return r, err
}

// DeleteUser removes a user and ends everything of it. The id is never given
// out again; the login names are free at once.
func (a *Authority) DeleteUser(ctx context.Context, id string, by Actor, from Origin) (Receipt, error) {
	r, _, _, err := a.endSubject(ctx, subjectEnding{
		user: id, reason: curfew.ReasonDeleted, event: audit.UserDeleted, by: by, from: from,
		change: func(u *store.User) error {
			*u = store.User{ID: u.ID, Status: store.UserDeleted, CreatedAt: u.CreatedAt, Version: u.Version}
			return nil
		},
	})
	return r, err
}

// EnableUser lets a disabled user log in again. Nothing that ended comes back.
func (a *Authority) EnableUser(ctx context.Context, id string, by Actor, from Origin) error {
	_, err := a.updateUser(ctx, id, audit.UserEnabled, by, from, func(u *store.User) error {
		u.Status = store.UserActive
		return nil
	})
	return err
}

// SetPassword sets the password of a user and ends everything of it.
func (a *Authority) SetPassword(ctx context.Context, id, pw string, mustChange bool, by Actor, from Origin) (Receipt, error) {
	hash, err := a.hasher.Hash(ctx, pw)
	if err != nil {
		return Receipt{}, err
	}
	r, _, _, err := a.endSubject(ctx, subjectEnding{
		user: id, reason: curfew.ReasonPasswordChanged, event: audit.PasswordChanged, by: by, from: from,
		change: func(u *store.User) error { u.PasswordHash, u.MustChange = hash, mustChange; return nil },
	})
	return r, err
}

func (a *Authority) updateUser(ctx context.Context, id string, event audit.Event, by Actor, from Origin, change func(*store.User) error) (store.User, error) {
	var u store.User
	_, err := a.decide(ctx, func() (store.Change, error) {
		var err error
		if u, err = a.store.User(ctx, id); err != nil {
			return store.Change{}, fmt.Errorf("user %s: %w", id, err)
		}
		if u.Status == store.UserDeleted {
			return store.Change{}, fmt.Errorf("user %s: %w", id, store.ErrNotFound)
		}
		if err := change(&u); err != nil {
			return store.Change{}, err
		}
		u.UpdatedAt = a.clock.now()
		e := a.entry(event, by, from)
		e.Subject = id
		return store.Change{UpdateUsers: []store.UserUpdate{{User: u}}, Audit: []audit.Entry{e}}, nil
	})
	return u, err
}

// PasswordChange is a user's own change of password.
type PasswordChange struct {
	Password string
	Current  string // not needed within 5 minutes of a reauthentication
	// KeepCurrent leaves the session of the call alive, with new tokens.
	KeepCurrent bool
	// Cookie is the one that the call came with, if it came with one.
	Cookie string
	From   Origin
}

// ChangePassword changes the caller's password and ends everything of the
// caller; with KeepCurrent the session of the call lives on and Issued holds
// its new tokens.
func (a *Authority) ChangePassword(ctx context.Context, c *token.Claims, in PasswordChange) (Receipt, *Issued, error) {
	user, err := a.confirm(ctx, c, in.Current, in.From)
	if err != nil {
		return Receipt{}, nil, err
	}
	if same, _, err := a.hasher.Verify(ctx, user.PasswordHash, in.Password); err == nil && same {
		return Receipt{}, nil, ErrSamePassword
	}
	hash, err := a.hasher.Hash(ctx, in.Password)
	if err != nil {
		return Receipt{}, nil, err
	}
	checked := user.PasswordHash
	e := subjectEnding{
		user: c.Subject, reason: curfew.ReasonPasswordChanged, event: audit.PasswordChanged, by: UserActor(c.Subject), from: in.From,
		change: func(u *store.User) error {
			if u.PasswordHash != checked {
				return ErrBadCredentials // somebody else changed it meanwhile
			}
			u.PasswordHash, u.MustChange = hash, false
			return nil
		},
	}
	var cookie string
	if in.KeepCurrent {
		e.keep, e.keepRow = c.Session, func(s *curfew.Session) error {
			// Lifting its epoch must not revive a session that a revocation of
			// its client or of everything has ended. The store has the last word
			// on that; this ends the attempts with the right answer.
			st, err := a.store.State(ctx)
			if err != nil {
				return err
			}
			if s.Ended() || s.Epoch < max(st.Everything, st.Clients[s.ClientID]) {
				return curfew.ErrRevoked
			}
			now := a.clock.now()
			// Two steps on: the parent of a refresh token is good for its
			// successor within the grace window, and a refresh token that was
			// stolen before must not be good for this one.
			s.Counter, s.RotatedAt, s.LastSeenAt = s.Counter+2, now, now
			s.TokenExp = later(s.TokenExp, a.tokenExp(*s, now))
			if s.CookieHash != "" {
				// Nor a cookie.
				cookie, s.CookieHash = newCookie(s.ID, IsPersistentCookie(in.Cookie))
			}
			return nil
		}
	}
	r, user, kept, err := a.endSubject(ctx, e)
	if err != nil || !in.KeepCurrent {
		return r, nil, err
	}
	if kept.CookieHash != "" {
		return r, &Issued{Cookie: cookie, Session: kept, User: user}, nil
	}
	issued, err := a.issue(kept, user)
	return r, &issued, err
}

// confirm checks that the caller is the person: by the current password, or by
// a recent reauthentication of the session where none is given.
func (a *Authority) confirm(ctx context.Context, c *token.Claims, current string, from Origin) (store.User, error) {
	user, err := a.store.User(ctx, c.Subject)
	if err != nil {
		return user, err
	}
	if current != "" {
		return user, a.recheck(ctx, user, current, from)
	}
	s, err := a.store.Session(ctx, c.Session)
	if err != nil {
		return user, err
	}
	if s.Ended() || s.ReauthAt.IsZero() || a.clock.now().Sub(s.ReauthAt) > reauthWindow {
		return user, ErrReauthRequired
	}
	return user, nil
}

// recheck checks the password of somebody who is logged in, under the limits of
// a login: a stolen access token must not become an oracle for the password.
func (a *Authority) recheck(ctx context.Context, user store.User, pw string, from Origin) error {
	_, err := a.checkPassword(ctx, user.ID, user, pw, from)
	if errors.Is(err, ErrBadCredentials) {
		return a.failLogin(ctx, user.ID, user.ID, from)
	}
	return err
}

// Reauthenticate checks the password again and gives out an access token with a
// fresh auth_time. It is forgotten when the session ends.
func (a *Authority) Reauthenticate(ctx context.Context, c *token.Claims, pw string, from Origin) (Issued, error) {
	user, err := a.store.User(ctx, c.Subject)
	if err != nil {
		return Issued{}, err
	}
	if err := a.recheck(ctx, user, pw, from); err != nil {
		return Issued{}, err
	}
	var s curfew.Session
	if _, err := a.decide(ctx, func() (store.Change, error) {
		var err error
		if s, err = a.store.Session(ctx, c.Session); err != nil {
			return store.Change{}, err
		}
		if a.dead(s, user, a.clock.now()) != "" {
			return store.Change{}, curfew.ErrRevoked
		}
		now := a.clock.now()
		s.ReauthAt, s.LastSeenAt = now, now
		s.TokenExp = later(s.TokenExp, a.tokenExp(s, now))
		e := a.entry(audit.Reauthenticated, UserActor(user.ID), from)
		e.Subject, e.Session, e.ClientID = user.ID, s.ID, s.ClientID
		return store.Change{UpdateSessions: []store.SessionUpdate{{Session: s}}, Audit: []audit.Entry{e}}, nil
	}); err != nil {
		return Issued{}, err
	}
	if s.CookieHash != "" {
		return Issued{Session: s, User: user}, nil // its cookie stays
	}
	return a.issue(s, user)
}

// ProfileChange is a user's own change of profile; nil members stay.
type ProfileChange struct {
	Name  *string
	Email *string // needs a reauthentication or the current password
	// Current is the current password.
	Current string
	From    Origin
}

// ChangeProfile changes the caller's name or e-mail address.
func (a *Authority) ChangeProfile(ctx context.Context, c *token.Claims, in ProfileChange) (store.User, error) {
	if in.Email != nil {
		if _, err := a.confirm(ctx, c, in.Current, in.From); err != nil {
			return store.User{}, err
		}
	}
	return a.updateUser(ctx, c.Subject, audit.UserUpdated, UserActor(c.Subject), in.From, func(u *store.User) error {
		if in.Name != nil {
			u.Name = clip(*in.Name, 200)
		}
		if in.Email != nil {
			u.Email, u.EmailFold = strings.TrimSpace(*in.Email), Fold(*in.Email)
		}
		return validUser(*u)
	})
}

func isBadPassword(err error) bool {
	return errors.Is(err, password.ErrTooLong) || errors.Is(err, password.ErrTooShort) || errors.Is(err, password.ErrInvalid)
}
