package store

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/audit"
)

var (
	// ErrNotFound is a row that does not exist.
	ErrNotFound = errors.New("not found")
	// ErrConflict is a condition of a change that no longer holds. Nothing was
	// written. The caller reads again and decides anew.
	ErrConflict = errors.New("changed meanwhile")
	// ErrExists is a unique name that is taken: a login name, an id, or the
	// name of an API key. Nothing was written.
	ErrExists = errors.New("exists already")
	// ErrUnknownOutcome is a commit that may or may not have become durable.
	// The caller answers 503 and promises nothing; repeating the call is safe.
	ErrUnknownOutcome = errors.New("outcome of the commit is unknown")
	// ErrUnavailable is a store that cannot serve now: closed, full, read-only,
	// out of reach. Nothing was written.
	ErrUnavailable = errors.New("store is unavailable")
	// ErrCompacted is a log position that was compacted away. The caller takes
	// a snapshot instead, see [Reader.Snapshot].
	ErrCompacted = errors.New("log has been compacted")
)

// Store is an engine. All methods may be called concurrently.
type Store interface {
	Reader
	Writer
	// Check reads everything and returns an error for each broken invariant:
	// gaps and broken hashes in the log or the audit trail, sessions that ended
	// without a position while a token was good, epochs ahead of the head. Tests call it after every
	// test, and `curfew audit verify` on request.
	Check(ctx context.Context) error
	// Close waits for the commits under way and releases the engine. Afterwards
	// everything is ErrUnavailable, except Close itself.
	Close() error
}

// Reader reads committed state. Every method sees all commits that were
// answered before it was called. Rows that do not exist are [ErrNotFound];
// an empty list is not an error.
type Reader interface {
	State(ctx context.Context) (State, error)

	User(ctx context.Context, id string) (User, error)
	// UserByLogin finds a user by folded e-mail address or user name. The empty
	// login finds nobody.
	UserByLogin(ctx context.Context, login string) (User, error)
	// Users lists users that are not deleted, in order of id.
	Users(ctx context.Context, page Page) ([]User, error)

	Session(ctx context.Context, id string) (curfew.Session, error)
	// Sessions lists the sessions that match f, in order of id.
	Sessions(ctx context.Context, f SessionFilter) ([]curfew.Session, error)
	// CountSessions counts all sessions that match f, whatever its page.
	CountSessions(ctx context.Context, f SessionFilter) (int64, error)

	// Revocations returns the entries (after, after+limit], in order and
	// without a gap, or ErrCompacted if some of them are gone.
	Revocations(ctx context.Context, after curfew.Seq, limit int) ([]curfew.Revocation, error)
	// Snapshot returns every entry that is still kept, in order, together with
	// the state it belongs to. It is what a follower starts from.
	Snapshot(ctx context.Context) (State, []curfew.Revocation, error)
	// Revocation returns one entry, or ErrCompacted if it is gone.
	Revocation(ctx context.Context, seq curfew.Seq) (curfew.Revocation, error)

	// Keys lists all keys in order of id.
	Keys(ctx context.Context) ([]Key, error)
	// APIKeys lists all keys in order of name.
	APIKeys(ctx context.Context) ([]APIKey, error)
	// Audit returns the entries that match f in order of Seq.
	Audit(ctx context.Context, f AuditFilter) ([]audit.Entry, error)
	// Backup writes a consistent copy of the whole store to w.
	Backup(ctx context.Context, w io.Writer) error
}

// Writer changes state.
type Writer interface {
	// Commit applies c in one transaction that is durable when Commit returns
	// nil, or applies nothing. ErrUnknownOutcome is the exception: then it may
	// have been applied. Commits are totally ordered; revocations get dense
	// positions in that order and become visible in it.
	//
	// A commit that has been handed over is carried out even if ctx is
	// cancelled: a logout must not be lost because its client hung up.
	Commit(ctx context.Context, c Change) (Committed, error)
	// Compact drops revocations whose ExpiresAt is not after horizon, from the
	// oldest on up to the first that must stay. The horizon is durable before
	// anything is dropped, so a token that expired before it stays dead
	// whatever a verifier's clock says.
	Compact(ctx context.Context, horizon time.Time) (dropped int64, err error)
	// Purge deletes sessions that ended, and users that were deleted, before
	// the given time; at most limit rows.
	Purge(ctx context.Context, before time.Time, limit int) (deleted int64, err error)
}

// State is what there is one of.
type State struct {
	// Head is the last entry of the log.
	Head curfew.Position `json:"head"`
	// Compacted is the last position that was dropped.
	Compacted curfew.Seq `json:"compacted"`
	// Horizon is the time before which every token has expired.
	Horizon time.Time `json:"horizon"`
	// TimeHighWater is the latest authority time that was ever recorded.
	TimeHighWater time.Time `json:"time_high_water"`
	// TokenLife is the longest life that access tokens were ever given.
	TokenLife time.Duration `json:"token_life"`
	// LeaseLife is the longest lease that verifiers were ever given; 0 if none
	// ever was.
	LeaseLife time.Duration `json:"lease_life"`
	// Everything is the position of the last revocation of everything.
	Everything curfew.Seq `json:"everything"`
	// Clients has the position of the last revocation of each client.
	Clients   map[string]curfew.Seq `json:"clients,omitempty"`
	AuditHead audit.Head            `json:"audit_head"`
}

// UserStatus is what a user may do.
type UserStatus string

// The statuses. Deleted users keep their row, without name and password, until
// it is purged; ids are never given out again.
const (
	UserActive   UserStatus = "active"
	UserDisabled UserStatus = "disabled"
	UserDeleted  UserStatus = "deleted"
)

// User is an account.
type User struct {
	ID           string
	Email        string   // as it is shown
	EmailFold    string   // as it is looked up; unique
	Username     string   // empty if there is none
	UsernameFold string   // unique if not empty
	Name         string   // of the person
	PasswordHash string   // PHC string
	Roles        []string // sorted
	Status       UserStatus
	MustChange   bool       // the next login must set a new password
	Epoch        curfew.Seq // position of the last revocation of the subject
	CreatedAt    time.Time
	UpdatedAt    time.Time
	Version      int64
}

// KeyStatus is where a signing key is in its life.
type KeyStatus string

// A key is announced, so that verifiers know it before it signs; then it is
// active; then retained until its last token has expired; then retired. A
// revoked key is dead at once.
const (
	KeyAnnounced KeyStatus = "announced"
	KeyActive    KeyStatus = "active"
	KeyRetained  KeyStatus = "retained"
	KeyRetired   KeyStatus = "retired"
	KeyRevoked   KeyStatus = "revoked"
)

// Key is a signing key, or the secret behind the refresh tokens. The private
// part is sealed under the master key; the store never sees it open.
type Key struct {
	ID        string    `json:"kid"`
	Alg       string    `json:"alg"` // ES256, EdDSA, RS256; HS256 for the refresh secret
	Use       string    `json:"use"` // "sig" or "refresh"
	Status    KeyStatus `json:"status"`
	PublicJWK []byte    `json:"-"`
	Sealed    []byte    `json:"-"`
	CreatedAt time.Time `json:"created_at"`
	// ChangedAt is when the key came to its status.
	ChangedAt time.Time `json:"changed_at"`
	Version   int64     `json:"-"`
}

// APIKey is a credential of an operator or a verifier. The secret itself is
// shown once and never stored.
type APIKey struct {
	Name      string    `json:"name"`
	Kind      string    `json:"kind"` // "operator" or "verifier"
	Hash      []byte    `json:"-"`    // SHA-256 of the secret
	CreatedAt time.Time `json:"created_at"`
}

// Page is a part of a list in order of id.
type Page struct {
	After string // last id of the page before
	Limit int    // 0 means 100
}

// SessionFilter selects sessions; the zero value selects all. Conditions are
// joined by and.
type SessionFilter struct {
	Page
	Subject       string
	ClientID      string
	IP            string
	Live          bool      // only those that did not end
	SeenBefore    time.Time // last seen before
	ExpiredAt     time.Time // absolute limit reached at that time or before
	CreatedBefore time.Time
	EpochBelow    curfew.Seq // began before that position
	// AnyOrder gives up the order of id, for whoever takes what it finds and
	// asks again: the engine may then use the index of a time.
	AnyOrder bool
}

// AuditFilter selects audit entries; the zero value selects all.
type AuditFilter struct {
	After   int64 // entries after that Seq
	Limit   int   // 0 means 1000
	Newest  bool  // the last Limit entries instead of the first
	Subject string
	Session string
	Event   audit.Event
	Since   time.Time // at that time or later
	Until   time.Time // before that time
}

// Change is what one commit does. Versions in it are those that were read; the
// store raises them. If any condition fails nothing is applied; a row to be
// updated that does not exist is ErrConflict as well.
type Change struct {
	// At is authority time; it goes into State.TimeHighWater. It must be set
	// where the change ends sessions.
	At time.Time

	// RequireUsers are conditions only: the user's version must be unchanged,
	// so that a login cannot slip past a concurrent logout-all or disabling.
	RequireUsers []UserVersion

	InsertUsers []User       // Epoch is set to the head after this change
	UpdateUsers []UserUpdate // on the version read

	InsertSessions []curfew.Session // Epoch is set to the head after this change
	UpdateSessions []SessionUpdate  // on the version read, and only while live
	// EndSubjects ends all live sessions of subjects, whatever their version.
	EndSubjects []EndSubject
	// Touch moves LastSeenAt forward, of live sessions; others are skipped. It
	// raises no version: activity must not make a logout conflict.
	Touch []Touch

	InsertKeys    []Key
	UpdateKeys    []Key // on the version read: Status, ChangedAt and Sealed
	InsertAPIKeys []APIKey
	DeleteAPIKeys []string // by name; ErrNotFound if absent

	// Revocations are appended in order. Seq and Hash are assigned.
	Revocations []curfew.Revocation
	// Audit is appended in order. Seq and Hash are assigned, and RevSeq is set
	// to the new head where the change has revocations.
	Audit []audit.Entry

	// TokenLife raises State.TokenLife.
	TokenLife time.Duration
	// LeaseLife raises State.LeaseLife.
	LeaseLife time.Duration
	// NewLogID begins another log: positions of the old one no longer count.
	// Only a restore does that.
	NewLogID string
}

// UserVersion names a version of a user.
type UserVersion struct {
	ID      string
	Version int64
}

// UserUpdate replaces a user.
type UserUpdate struct {
	User
	// RaiseEpoch sets Epoch to the head after this change. An epoch never falls.
	RaiseEpoch bool
}

// SessionUpdate replaces a session that is live. Where it has EndedAt set, it
// ends it; EndedSeq is then set to the head after this change if the change
// has revocations and stays as given otherwise, and ReauthAt is forgotten. What the login was stays as it
// is: Subject, ClientID, CreatedAt, ExpiresAt, IP and UserAgent.
type SessionUpdate struct {
	curfew.Session
	// RaiseEpoch sets Epoch to the head after this change. It is [ErrConflict]
	// for a session that began before the last revocation of its client or of
	// everything: nothing may lift it over that.
	RaiseEpoch bool
}

// EndSubject ends the live sessions of a subject.
type EndSubject struct {
	Subject string
	Except  string // a session that stays, or empty
	Reason  curfew.Reason
}

// CountEnded as the Count of an audit entry stands for the number of sessions
// that the change ended by EndSubjects.
const CountEnded = -1

// Touch is an activity of the person behind a session.
type Touch struct {
	Session string
	SeenAt  time.Time
}

// Committed is what a commit did.
type Committed struct {
	// Head is the log's head after the change.
	Head curfew.Position
	// Ended counts the sessions that EndSubjects ended.
	Ended int64
}
