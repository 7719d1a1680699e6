package audit

import (
	"errors"
	"fmt"
	"time"

	"github.com/curfewhq/curfew"
)

// Event names what happened, in the OWASP Logging Vocabulary where it has a
// word for it.
type Event string

// The events.
const (
	LoginSucceeded    Event = "authn_login_success"
	LoginFailed       Event = "authn_login_fail"
	LoginThrottled    Event = "authn_login_throttled"
	PasswordChanged   Event = "authn_password_change"
	PasswordRehashed  Event = "authn_password_rehash"
	Reauthenticated   Event = "authn_reauthenticate"
	TokenRefreshed    Event = "session_renewed"
	TokenReused       Event = "authn_token_reuse"
	TokenRevoked      Event = "authn_token_revoked"
	TokenCreated      Event = "authn_token_created" // a canary, which belongs to no login
	SessionLogout     Event = "session_logout"
	SessionExpired    Event = "session_expired"
	UserCreated       Event = "user_created"
	UserUpdated       Event = "user_updated"
	UserDisabled      Event = "user_disabled"
	UserEnabled       Event = "user_enabled"
	UserDeleted       Event = "user_deleted"
	KeyCreated        Event = "key_created"
	KeyActivated      Event = "key_activated"
	KeyRetired        Event = "key_retired"
	KeyRevoked        Event = "key_revoked"
	CredentialCreated Event = "credential_created" // an operator's or verifier's key
	CredentialDeleted Event = "credential_deleted"
	StoreCreated      Event = "sys_store_created"
	StoreRestored     Event = "sys_store_restored"
	BackupTaken       Event = "sys_backup"
)

// Entry is one line of the audit trail.
type Entry struct {
	Seq       int64         `json:"seq"` // dense, from 1
	At        time.Time     `json:"at"`  // authority time, UTC
	Event     Event         `json:"event"`
	Actor     string        `json:"actor"`             // who: "user:ID", "operator:NAME", "system", "anonymous"
	Subject   string        `json:"subject,omitempty"` // whose
	Session   string        `json:"session,omitempty"`
	ClientID  string        `json:"client_id,omitempty"`
	Reason    curfew.Reason `json:"reason,omitempty"`
	Count     int64         `json:"count,omitempty"` // how many sessions ended
	RevSeq    curfew.Seq    `json:"revocation_seq,omitempty"`
	IP        string        `json:"ip,omitempty"`
	UserAgent string        `json:"user_agent,omitempty"`
	Detail    string        `json:"detail,omitempty"`
	Hash      curfew.Hash   `json:"hash"`
}

// Chain returns the hash of e as the successor of an entry with hash prev. It
// covers every field but Hash itself.
func (e Entry) Chain(prev curfew.Hash) curfew.Hash {
	d := curfew.NewDigest("curfew audit v1")
	d.Bytes(prev[:])
	d.Int(e.Seq)
	d.Time(e.At)
	for _, s := range []string{
		string(e.Event), e.Actor, e.Subject, e.Session, e.ClientID,
		string(e.Reason), e.IP, e.UserAgent, e.Detail,
	} {
		d.String(s)
	}
	d.Int(e.Count)
	d.Int(int64(e.RevSeq))
	return d.Sum()
}

// Head is the end of the chain. Kept outside the store, it is an anchor: it
// detects a trail that was cut off, or recomputed as a whole.
type Head struct {
	Seq  int64       `json:"seq"`
	Hash curfew.Hash `json:"hash"`
}

// ErrBroken is a trail that was tampered with.
var ErrBroken = errors.New("audit trail is broken")

// Verifier checks a chain entry by entry, from the first on.
type Verifier struct {
	head   Head
	anchor Head
}

// NewVerifier returns a verifier of a whole trail. If anchor.Seq is not zero the
// entry with that Seq must have the anchor's hash.
func NewVerifier(anchor Head) *Verifier { return &Verifier{anchor: anchor} }

// Add checks that e is the next entry. The error wraps [ErrBroken] and says
// where and how the chain breaks.
func (v *Verifier) Add(e Entry) error {
	switch want := v.head.Seq + 1; {
	case e.Seq > want:
		return fmt.Errorf("%w: entry %d is missing (next is %d)", ErrBroken, want, e.Seq)
	case e.Seq < want:
		return fmt.Errorf("%w: entry %d is out of order (expected %d)", ErrBroken, e.Seq, want)
	}
	if e.Chain(v.head.Hash) != e.Hash {
		return fmt.Errorf("%w: entry %d was changed, or does not follow entry %d", ErrBroken, e.Seq, v.head.Seq)
	}
	if e.Seq == v.anchor.Seq && e.Hash != v.anchor.Hash {
		return fmt.Errorf("%w: entry %d does not match the anchor", ErrBroken, e.Seq)
	}
	v.head = Head{e.Seq, e.Hash}
	return nil
}

// End checks that the chain ends at head, the end that the store has noted
// apart from the entries, and that the anchor was reached.
func (v *Verifier) End(head Head) error {
	if v.head != head {
		return fmt.Errorf("%w: it ends at entry %d, the store has noted %d", ErrBroken, v.head.Seq, head.Seq)
	}
	if v.anchor.Seq > v.head.Seq {
		return fmt.Errorf("%w: the anchor is entry %d, the trail ends at %d", ErrBroken, v.anchor.Seq, v.head.Seq)
	}
	return nil
}

// Head returns the last entry that was checked.
func (v *Verifier) Head() Head { return v.head }
