package authority

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/audit"
	"github.com/curfewhq/curfew/internal/store"
)

const (
	sweepEvery = time.Second
	tendEvery  = time.Minute
	// sweepBatch bounds a sweep's commits, so that a logout never waits long
	// behind one.
	sweepBatch = 200
)

// Run follows the log and does what time demands: it ends sessions whose time
// is over, moves keys on, and forgets what no token can need. It returns when
// ctx is done, after the activity that was seen has been stored.
func (a *Authority) Run(ctx context.Context) error {
	var followed sync.WaitGroup
	followed.Go(func() { a.log.Run(ctx) })
	followed.Go(func() { a.feed.Run(ctx) })
	sweep := time.NewTicker(sweepEvery)
	defer sweep.Stop()
	tend := time.NewTicker(tendEvery)
	defer tend.Stop()
	for {
		select {
		case <-ctx.Done():
			// ctx is done, the store is not.
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			a.report(last, "storing activity", a.flushActivity(last))
			cancel()
			followed.Wait()
			return nil
		case <-sweep.C:
			a.report(ctx, "ending overdue sessions", a.Sweep(ctx))
		case <-tend.C:
			a.report(ctx, "tending keys", a.tendKeys(ctx))
			a.report(ctx, "tidying", a.Tidy(ctx))
		}
	}
}

func (a *Authority) report(ctx context.Context, doing string, err error) {
	if err != nil && ctx.Err() == nil {
		a.logger.Error(doing+" failed; it will be tried again", "err", err)
	}
}

// Sweep ends the sessions whose time is over.
func (a *Authority) Sweep(ctx context.Context) error {
	if err := a.flushActivity(ctx); err != nil {
		return err
	}
	now := a.clock.now()
	if a.cfg.IdleTimeout > 0 {
		a.idleWait.Store(int64(a.reportDelay()))
		f := store.SessionFilter{Live: true, AnyOrder: true, SeenBefore: now.Add(-a.idleAfter())}
		if err := a.sweep(ctx, f, curfew.ReasonIdle, true); err != nil {
			return err
		}
	}
	// No access token outlives its session, so the end at the absolute limit
	// needs no revocation; nor does a session below an epoch that was revoked.
	if err := a.sweep(ctx, store.SessionFilter{Live: true, AnyOrder: true, ExpiredAt: now}, curfew.ReasonExpired, false); err != nil {
		return err
	}
	return a.sweepEpochs(ctx)
}

// sweepEpochs ends the rows of sessions that a revocation of a client or of
// everything has ended already. It goes through all sessions, so it does that
// once for each such revocation.
func (a *Authority) sweepEpochs(ctx context.Context) error {
	st, err := a.store.State(ctx)
	if err != nil {
		return err
	}
	if st.Everything > a.sweptEverything {
		if err := a.sweep(ctx, store.SessionFilter{Live: true, EpochBelow: st.Everything}, curfew.ReasonAdmin, false); err != nil {
			return err
		}
		a.sweptEverything = st.Everything
	}
	for client, epoch := range st.Clients {
		if epoch <= max(a.sweptClients[client], a.sweptEverything) {
			continue
		}
		if err := a.sweep(ctx, store.SessionFilter{Live: true, ClientID: client, EpochBelow: epoch}, curfew.ReasonAdmin, false); err != nil {
			return err
		}
		if a.sweptClients == nil {
			a.sweptClients = map[string]curfew.Seq{}
		}
		a.sweptClients[client] = epoch
	}
	return nil
}

// sweep ends the sessions of f, batch by batch.
func (a *Authority) sweep(ctx context.Context, f store.SessionFilter, why curfew.Reason, revoke bool) error {
	f.Limit = sweepBatch
	for ctx.Err() == nil {
		due, err := a.store.Sessions(ctx, f)
		if err != nil || len(due) == 0 {
			return err
		}
		var c store.Change
		for _, s := range due {
			if why == curfew.ReasonIdle && !a.isIdle(s, a.clock.now()) {
				continue // seen since the flush
			}
			s.EndedSeq = f.EpochBelow // what has ended it already, if anything has
			a.endSession(&c, s, why, audit.SessionExpired, System, Origin{})
		}
		if !revoke {
			c.Revocations = nil
		}
		if why == curfew.ReasonAdmin {
			c.Audit = nil // the revocation's own entry has reported it
		}
		if isEmpty(c) {
			return nil
		}
		c.At = a.clock.now()
		_, err = a.store.Commit(ctx, c)
		switch {
		case errors.Is(err, store.ErrConflict):
			// One of them was used or ended meanwhile. Read the batch again.
			continue
		case err != nil:
			return err
		}
		a.log.Wake()
		a.observe.Ended(why, int64(len(c.UpdateSessions)))
		if f.EpochBelow > 0 {
			f.After = due[len(due)-1].ID // in order of id, so nothing before it is left
		}
	}
	return ctx.Err()
}

func (a *Authority) flushActivity(ctx context.Context) error {
	touched := a.activity.take()
	for len(touched) > 0 {
		n := min(len(touched), 1000)
		_, err := a.store.Commit(ctx, store.Change{At: a.clock.now(), Touch: touched[:n]})
		if err != nil {
			for _, t := range touched {
				a.activity.note(t.Session, t.SeenAt)
			}
			return err
		}
		touched = touched[n:]
	}
	return nil
}

// Tidy forgets what no live token can need: revocations whose tokens have all
// expired, and sessions that ended longer ago than the retention. It also
// keeps the high-water mark of time fresh.
func (a *Authority) Tidy(ctx context.Context) error {
	now := a.clock.now()
	if _, err := a.store.Commit(ctx, store.Change{At: now}); err != nil {
		return err
	}
	if _, err := a.store.Compact(ctx, now); err != nil {
		return err
	}
	a.deny.Forget(now)
	a.feed.Forget(now)
	_, err := a.store.Purge(ctx, now.Add(-max(a.cfg.Retention, a.tokenLife)), 5000)
	return err
}
