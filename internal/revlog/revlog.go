package revlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/denylist"
	"github.com/curfewhq/curfew/internal/feed"
	"github.com/curfewhq/curfew/internal/store"
)

const (
	pageSize = 1000
	// pollInterval bounds how long a revocation that nobody signalled stays
	// unseen: one that another node committed, or whose signal was lost.
	pollInterval = time.Second
	maxBackoff   = time.Second
)

// Source is where the log is read from. [store.Reader] implements it.
type Source interface {
	Revocations(ctx context.Context, after curfew.Seq, limit int) ([]curfew.Revocation, error)
	State(ctx context.Context) (store.State, error)
}

// Sink is told what is in the denylist now: where the log begins that is read,
// and then every entry, in order. Its methods must not block.
type Sink interface {
	Begin(feed.Base)
	Append(entries []curfew.Revocation, at curfew.Position)
}

// Log follows a Source. Its methods may be called concurrently.
type Log struct {
	src    Source
	deny   *denylist.Set
	sink   Sink
	logger *slog.Logger
	wake   chan struct{} // holds one signal; more would say nothing new
	// turn is held by whoever reads the log: Run, or one of those who wait.
	turn chan struct{}

	// mu guards the position. advanced is closed and replaced whenever the
	// position moves, after the denylist has the entries, so whoever sees the
	// position knows that Check sees them.
	mu       sync.Mutex
	applied  curfew.Position
	advanced chan struct{}
}

// Open loads the log of src into deny and returns a Log at its head. A sink may
// be nil.
func Open(ctx context.Context, src Source, deny *denylist.Set, sink Sink, logger *slog.Logger) (*Log, error) {
	if sink == nil {
		sink = nobody{}
	}
	l := &Log{src: src, deny: deny, sink: sink, logger: logger, wake: make(chan struct{}, 1), turn: make(chan struct{}, 1), advanced: make(chan struct{})}
	if err := l.load(ctx); err != nil {
		return nil, err
	}
	return l, nil
}

// Run follows the log until ctx is done.
func (l *Log) Run(ctx context.Context) error {
	backoff := time.Duration(0)
	for {
		wake, pause := l.wake, pollInterval
		if backoff > 0 {
			wake, pause = nil, backoff // a signal must not turn retries into a busy loop
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-wake:
		case <-time.After(pause):
		}
		if err := l.catchUp(ctx); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			backoff = min(max(2*backoff, 10*time.Millisecond), maxBackoff)
			l.logger.Error("reading the revocation log failed", "err", err, "retry_in", backoff)
			continue
		}
		backoff = 0
	}
}

// Wake says that there may be something new. It never blocks.
func (l *Log) Wake() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Wait returns when the entry at seq is in the denylist. One of those who wait
// reads the log for all of them, so that a logout does not pay for handing it
// to another goroutine and back.
func (l *Log) Wait(ctx context.Context, seq curfew.Seq) error {
	for {
		l.mu.Lock()
		applied, advanced := l.applied.Seq, l.advanced
		l.mu.Unlock()
		if applied >= seq {
			return nil
		}
		select {
		case <-advanced:
		case l.turn <- struct{}{}:
			err := l.follow(ctx)
			<-l.turn
			if err != nil {
				return fmt.Errorf("waiting for revocation %d: %w", seq, err)
			}
			if l.Position().Seq < seq {
				return fmt.Errorf("waiting for revocation %d: the log ends at %d", seq, l.Position().Seq)
			}
		case <-ctx.Done():
			return fmt.Errorf("waiting for revocation %d: %w", seq, context.Cause(ctx))
		}
	}
}

// catchUp follows the log when nobody else does.
func (l *Log) catchUp(ctx context.Context) error {
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
		return l.follow(ctx)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Position returns how far the log has been applied.
func (l *Log) Position() curfew.Position {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.applied
}

// follow applies everything that is new. The caller has the turn.
func (l *Log) follow(ctx context.Context) error {
	for {
		at := l.Position()
		entries, err := l.src.Revocations(ctx, at.Seq, pageSize)
		if errors.Is(err, store.ErrCompacted) {
			return l.load(ctx)
		}
		if err != nil {
			return err
		}
		for _, r := range entries {
			if r.Seq != at.Seq+1 || r.Chain(at.Hash) != r.Hash {
				return fmt.Errorf("revocation %d does not follow %d: the log is damaged or was replaced", r.Seq, at.Seq)
			}
			l.deny.Apply(r)
			at.Seq, at.Hash = r.Seq, r.Hash
		}
		if len(entries) > 0 {
			l.sink.Append(entries, at)
			l.advance(at)
		}
		if len(entries) < pageSize {
			return nil
		}
	}
}

// load starts from what is kept of the log: what was compacted away concerns no
// token that is alive. The entries come in pages, so that a long log is never in
// memory as a whole.
func (l *Log) load(ctx context.Context) error {
	for {
		state, err := l.src.State(ctx)
		if err != nil {
			return fmt.Errorf("loading the revocation log: %w", err)
		}
		err = l.loadFrom(ctx, state)
		if errors.Is(err, store.ErrCompacted) {
			continue // compacted between two pages
		}
		if err != nil {
			return fmt.Errorf("loading the revocation log: %w", err)
		}
		return nil
	}
}

func (l *Log) loadFrom(ctx context.Context, state store.State) error {
	// The floors are those of the head, so no entry may be applied without
	// them; entries past the head bring their own.
	l.deny.Floors(state.Everything, state.Clients)
	at := curfew.Position{LogID: state.Head.LogID, Seq: state.Compacted}
	base := feed.Base{
		Log: at.LogID, Seq: at.Seq, Horizon: max(0, state.Horizon.Unix()), Everything: state.Everything, Clients: state.Clients,
	}
	if at.Seq == state.Head.Seq {
		base.Hash = state.Head.Hash // everything is compacted
	}
	l.sink.Begin(base)
	for first := true; ; first = false {
		page, err := l.src.Revocations(ctx, at.Seq, pageSize)
		if err != nil {
			return err
		}
		for _, r := range page {
			// The first entry that is kept has a predecessor nobody has.
			if r.Seq != at.Seq+1 || !first && r.Chain(at.Hash) != r.Hash {
				return fmt.Errorf("revocation %d does not follow %d: the log is damaged or was replaced", r.Seq, at.Seq)
			}
			first = false
			l.deny.Apply(r)
			at.Seq, at.Hash = r.Seq, r.Hash
		}
		l.sink.Append(page, at)
		if len(page) < pageSize {
			break
		}
	}
	if at.Seq == state.Head.Seq {
		at.Hash = state.Head.Hash // also where everything is compacted
	}
	l.deny.SetWatermark(at.Seq)
	l.deny.Forget(state.Horizon)
	l.advance(at)
	return nil
}

func (l *Log) advance(to curfew.Position) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.applied = to
	close(l.advanced)
	l.advanced = make(chan struct{})
}

type nobody struct{}

func (nobody) Begin(feed.Base)                             {}
func (nobody) Append([]curfew.Revocation, curfew.Position) {}
