package store

import "context"

// Durable is a [Store] that can say by which settings its commits survive a
// power failure. Engines whose settings can be changed behind their back, or
// live in another process, should implement it: it is what 'curfew doctor'
// looks at.
type Durable interface {
	Durability(ctx context.Context) (Durability, error)
}

// Durability is how an engine keeps what it has committed.
type Durability struct {
	Engine   string            `json:"engine"`
	Settings map[string]string `json:"settings"` // as the engine calls them
	// Problem says why a commit that was answered could be lost; empty if it
	// could not.
	Problem string `json:"problem,omitempty"`
}
