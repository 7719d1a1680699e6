package main

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"os"

	"github.com/go-chi/chi/v5"

	"github.com/curfewhq/curfew/guard"
)

func main() {
	g, err := guard.Open(context.Background(), guard.Config{
		Authority: "http://127.0.0.1:8080", Key: os.Getenv("CURFEW_VERIFIER_KEY"),
	})
	if err != nil {
		log.Fatal(err)
	}
	defer g.Close()
	log.Print(http.ListenAndServe("127.0.0.1:9001", routes(g)))
}

// routes: a guard's middleware is what chi calls a middleware.
func routes(g *guard.Guard) http.Handler {
	r := chi.NewRouter()
	r.Get("/public", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") })
	r.Group(func(r chi.Router) {
		r.Use(g.Middleware)
		r.Get("/", whoami)
	})
	r.With(g.Route(guard.Route{Mode: guard.Strict})).Get("/strict", whoami)
	return r
}

func whoami(w http.ResponseWriter, r *http.Request) {
	c, _ := guard.FromContext(r.Context())
	fmt.Fprint(w, c.Subject)
}
