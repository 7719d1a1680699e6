package guardgrpc

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"google.golang.org/grpc"
)

// grace is how long a stream may take to end by itself when its session has.
const grace = 500 * time.Millisecond

// stream is what a guarded handler gets.
type stream struct {
	grpc.ServerStream
	ctx context.Context
}

// Context implements [grpc.ServerStream].
func (s *stream) Context() context.Context { return s.ctx }

// SendMsg sends nothing any more once the session has ended.
func (s *stream) SendMsg(m any) error {
	if over := ended(s.ctx); over != nil {
		return Status(over).Err()
	}
	return s.ServerStream.SendMsg(m)
}

// RecvMsg takes nothing any more once the session has ended. What waits in it
// is let go when the stream is ended.
func (s *stream) RecvMsg(m any) error {
	err := s.ServerStream.RecvMsg(m)
	if over := ended(s.ctx); over != nil {
		return Status(over).Err()
	}
	return err
}

// run runs a handler until it returns or, when its session has ended, for no
// longer than the grace. A handler that is stuck in a read cannot be told
// anything: that the interceptor returns ends the stream, which lets it go.
func run(ctx context.Context, end func(), handler func() error) error {
	type result struct {
		err      error
		panicked *handlerPanic
	}
	done := make(chan result, 1)
	go func() {
		defer end()
		var r result
		returned := false
		// What a handler panics with belongs to the goroutine that called it:
		// interceptors that recover are there.
		defer func() {
			if !returned {
				r.panicked = &handlerPanic{recover(), debug.Stack()}
			}
			done <- r
		}()
		r.err = handler()
		returned = true
	}()
	var r result
	select {
	case r = <-done:
	case <-ctx.Done():
		// Where others have ended it, such as the client that went away, the
		// handler has as long as it takes.
		var late <-chan time.Time
		if ended(ctx) != nil {
			timer := time.NewTimer(grace)
			defer timer.Stop()
			late = timer.C
		}
		select {
		case r = <-done:
		case <-late:
			return Status(ended(ctx)).Err()
		}
	}
	if r.panicked != nil {
		panic(r.panicked)
	}
	if over := ended(ctx); over != nil {
		return Status(over).Err()
	}
	return r.err
}

// handlerPanic is a panic that has come from one goroutine to another, with
// where it began.
type handlerPanic struct {
	value any
	stack []byte
}

func (p *handlerPanic) Error() string {
	return fmt.Sprintf("%v\n\nin the handler of a stream:\n%s", p.value, p.stack)
}

// Unwrap returns what the handler panicked with if that is an error.
func (p *handlerPanic) Unwrap() error {
	err, _ := p.value.(error)
	return err
}
