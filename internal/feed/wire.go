package feed

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/curfewhq/curfew"
)

// ContentType is that of grants and snapshots.
const ContentType = "application/vnd.curfew.feed; charset=utf-8"

// Bounds of what a poll may hold.
const (
	MaxSeen    = 5000
	MaxPoll    = 1 << 20 // bytes
	maxConfirm = 64
	maxHeader  = 4 << 20 // bytes of the first line: keys, floors of clients
)

var (
	// ErrSnapshotRequired is a position that the log cannot continue from: it
	// was compacted, or it is another log. The verifier takes a snapshot.
	ErrSnapshotRequired = errors.New("snapshot required")
	// ErrBadPoll is a poll that is not understood.
	ErrBadPoll = errors.New("bad poll")
	// ErrInvalidKey is a verifier's key that is missing, wrong or removed.
	ErrInvalidKey = errors.New("invalid verifier key")
	// ErrBadAnswer is a grant or a snapshot that is not whole or not
	// understood. Nothing of it may be used.
	ErrBadAnswer = errors.New("bad answer of the feed")
	// ErrTooManyVerifiers is a hub that holds as many leases as it may.
	ErrTooManyVerifiers = errors.New("too many verifiers")
)

// Poll is what a verifier asks with: docs/protocol.md has the members.
type Poll struct {
	Instance string           `json:"instance"`
	Poll     int64            `json:"poll"`
	Log      string           `json:"log"`
	Seq      curfew.Seq       `json:"seq"`
	Hash     string           `json:"hash"`
	Keys     string           `json:"keys"`
	WaitMS   int64            `json:"wait_ms,omitempty"`
	Seen     map[string]int64 `json:"seen,omitempty"` // session to milliseconds ago
	Confirm  string           `json:"confirm,omitempty"`
	Release  bool             `json:"release,omitempty"`
}

func (p *Poll) check() error {
	switch {
	case !curfew.ValidID(p.Instance):
		return fmt.Errorf("%w: instance must be 32 lower-case hexadecimal digits", ErrBadPoll)
	case p.Seq < 0 || p.Poll < 0 || p.WaitMS < 0:
		return fmt.Errorf("%w: seq, poll and wait_ms must not be negative", ErrBadPoll)
	case len(p.Log) > 64 || len(p.Hash) > 64 || len(p.Keys) > 64 || len(p.Confirm) > maxConfirm:
		return fmt.Errorf("%w: log, hash, keys and confirm have at most 64 characters", ErrBadPoll)
	case len(p.Seen) > MaxSeen:
		return fmt.Errorf("%w: more than %d sessions in seen", ErrBadPoll, MaxSeen)
	}
	return nil
}

// Keys is a key set and whose it is.
type Keys struct {
	Version string          `json:"version"`
	Issuer  string          `json:"issuer"`
	Set     json.RawMessage `json:"set"` // JSON Web Key Set
}

// Grant is the answer to a poll. Its members are those of the wire.
type Grant struct {
	Poll       int64      `json:"poll"`
	Confirm    string     `json:"confirm,omitempty"`
	Log        string     `json:"log"`
	Seq        curfew.Seq `json:"seq"`
	Hash       string     `json:"hash"`
	Entries    int        `json:"entries"`
	LeaseUS    int64      `json:"lease_us"`
	TimeUS     int64      `json:"time_us"`
	Horizon    int64      `json:"horizon"`
	Keys       *Keys      `json:"keys,omitempty"`
	ReportSeen bool       `json:"report_seen,omitempty"`

	// Lines are the entries as they go over the wire.
	Lines []byte `json:"-"`
}

// Append appends the wire form of g to dst. Thousands are written each second,
// and but for the keys they are all numbers.
func (g *Grant) Append(dst []byte) []byte {
	dst = append(dst, `{"poll":`...)
	dst = strconv.AppendInt(dst, g.Poll, 10)
	if g.Confirm != "" {
		dst = append(dst, `,"confirm":`...)
		dst = appendJSON(dst, g.Confirm)
	}
	dst = append(dst, `,"log":`...)
	dst = appendJSON(dst, g.Log)
	dst = append(dst, `,"seq":`...)
	dst = strconv.AppendInt(dst, int64(g.Seq), 10)
	dst = append(dst, `,"hash":"`...)
	dst = append(dst, g.Hash...)
	dst = append(dst, `","entries":`...)
	dst = strconv.AppendInt(dst, int64(g.Entries), 10)
	dst = append(dst, `,"lease_us":`...)
	dst = strconv.AppendInt(dst, g.LeaseUS, 10)
	dst = append(dst, `,"time_us":`...)
	dst = strconv.AppendInt(dst, g.TimeUS, 10)
	dst = append(dst, `,"horizon":`...)
	dst = strconv.AppendInt(dst, g.Horizon, 10)
	if g.Keys != nil {
		dst = append(dst, `,"keys":`...)
		dst = appendJSON(dst, g.Keys)
	}
	if g.ReportSeen {
		dst = append(dst, `,"report_seen":true`...)
	}
	dst = append(dst, "}\n"...)
	return append(dst, g.Lines...)
}

func appendJSON(dst []byte, v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // texts and a key set that was marshalled before
	}
	return append(dst, b...)
}

// ParseGrant reads a grant and its entries, all of them or an error.
func ParseGrant(body []byte) (*Grant, []curfew.Revocation, error) {
	header, lines, ok := bytes.Cut(body, []byte{'\n'})
	if !ok {
		return nil, nil, fmt.Errorf("%w: the first line is not ended", ErrBadAnswer)
	}
	var g Grant
	if err := json.Unmarshal(header, &g); err != nil {
		return nil, nil, fmt.Errorf("%w: first line: %w", ErrBadAnswer, err)
	}
	if g.Entries < 0 || g.Entries > len(lines)/minLine || g.LeaseUS < 0 || g.LeaseUS > maxLeaseUS {
		return nil, nil, fmt.Errorf("%w: %d entries, a lease of %d µs", ErrBadAnswer, g.Entries, g.LeaseUS)
	}
	var entries []curfew.Revocation
	if g.Entries > 0 {
		entries = make([]curfew.Revocation, 0, g.Entries)
	}
	// One text for all of them: the fields are parts of it.
	rest := string(lines)
	for range g.Entries {
		r, tail, err := parseLine(rest)
		if err != nil {
			return nil, nil, err
		}
		rest = tail
		if n := len(entries); n > 0 && r.Seq != entries[n-1].Seq+1 {
			return nil, nil, fmt.Errorf("%w: entry %d after %d", ErrBadAnswer, r.Seq, entries[n-1].Seq)
		}
		entries = append(entries, r)
	}
	// Progress must not overtake data: a body that was cut off or glued to
	// another one is no answer at all.
	if rest != "" {
		return nil, nil, fmt.Errorf("%w: more than the %d entries it announces", ErrBadAnswer, g.Entries)
	}
	if n := len(entries); n > 0 && entries[n-1].Seq != g.Seq {
		return nil, nil, fmt.Errorf("%w: entries end at %d, not at %d", ErrBadAnswer, entries[n-1].Seq, g.Seq)
	}
	return &g, entries, nil
}

// maxLeaseUS bounds what an authority may be configured to: an hour.
const maxLeaseUS = 3600 * 1e6

// SnapshotHeader is the first line of a snapshot.
type SnapshotHeader struct {
	Log        string                `json:"log"`
	Seq        curfew.Seq            `json:"seq"`
	Hash       string                `json:"hash"`
	Entries    int64                 `json:"entries"`
	TimeUS     int64                 `json:"time_us"`
	Horizon    int64                 `json:"horizon"`
	Everything curfew.Seq            `json:"everything"`
	Clients    map[string]curfew.Seq `json:"clients,omitempty"`
	Keys       *Keys                 `json:"keys,omitempty"`
}
