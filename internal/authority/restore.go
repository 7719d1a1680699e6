package authority

import (
	"context"
	"fmt"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/audit"
	"github.com/curfewhq/curfew/internal/store"
)

// AfterRestore makes a store that came from a backup safe to serve from. What
// was revoked after the backup was taken is forgotten in it, so nothing that
// was issued before the restore may count: everything is revoked, every key is
// revoked and its private part wiped, and another log begins, so that verifiers
// that have followed the old one notice and start from a snapshot.
//
// Positions alone would not do: tokens issued after the backup carry positions
// that the restored log has yet to reach. Their keys are what kills them.
//
// lease is how long leases may have been that were given after the backup.
func AfterRestore(ctx context.Context, st store.Store, lease time.Duration) error {
	state, err := st.State(ctx)
	if err != nil {
		return fmt.Errorf("reading the restored store: %w", err)
	}
	keys, err := st.Keys(ctx)
	if err != nil {
		return fmt.Errorf("reading the restored keys: %w", err)
	}
	now := newClock(state.TimeHighWater).now()
	expires := now.Add(state.TokenLife + time.Second)
	c := store.Change{
		At: now, NewLogID: curfew.NewID(),
		// The backup may be from before the first lease; others are out there
		// now, of verifiers that follow the log that is lost.
		LeaseLife: max(state.LeaseLife, lease),
		Revocations: []curfew.Revocation{{
			Kind: curfew.KindEverything, Reason: curfew.ReasonRestored, Actor: string(System), RecordedAt: now, ExpiresAt: expires,
		}},
		Audit: []audit.Entry{{At: now, Event: audit.StoreRestored, Actor: string(System), Reason: curfew.ReasonRestored}},
	}
	for _, k := range keys {
		if k.Status == store.KeyRevoked || k.Status == store.KeyRetired {
			continue
		}
		k.Status, k.ChangedAt, k.Sealed = store.KeyRevoked, now, nil
		c.UpdateKeys = append(c.UpdateKeys, k)
		if k.Use == useSign {
			c.Revocations = append(c.Revocations, curfew.Revocation{
				Kind: curfew.KindKey, Target: k.ID, Reason: curfew.ReasonRestored, Actor: string(System), RecordedAt: now, ExpiresAt: expires,
			})
		}
	}
	if _, err := st.Commit(ctx, c); err != nil {
		return fmt.Errorf("revoking what was issued before the restore: %w", err)
	}
	return nil
}
