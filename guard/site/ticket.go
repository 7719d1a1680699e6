package site

import (
	"net/http"
	"net/url"
	"strings"
)

// ticketParam is the parameter of the query that is the ticket.
const ticketParam = "ticket"

// URL returns an address of this site for links, forms and redirects on pages
// for clients without cookies: with the ticket, if the session of r is carried by
// one, and as it is otherwise. An address that is no path of this site comes back
// as it is, without the ticket.
func (s *Site) URL(r *http.Request, address string) string {
	v := s.visitOf(r)
	if v == nil || local(address) == "" {
		return address
	}
	v.mu.Lock()
	ticket := v.ticket
	v.mu.Unlock()
	if ticket == "" {
		return address
	}
	u, err := url.Parse(address)
	if err != nil {
		return address
	}
	u.RawQuery = dropTicket(u.RawQuery)
	if u.RawQuery != "" {
		u.RawQuery += "&"
	}
	u.RawQuery += ticketParam + "=" + url.QueryEscape(ticket)
	return u.String()
}

// ticketOf returns the ticket in the URL of a request, if it may be believed.
//
// A ticket needs no protection from cross-site request forgery: a browser does
// not add it by itself, and another site does not know it. But another site, or
// a mail, can have a link with a ticket of the attacker's, and whoever follows it
// would work in the attacker's session (session fixation). So a ticket counts
// only in requests that this site has led to, or nobody; browsers say which. Of
// programs that do not, and of links that are typed or pasted, there is no
// telling. That is one of the reasons why the option is called insecure.
func ticketOf(r *http.Request) (string, error) {
	list := r.URL.Query()[ticketParam]
	if len(list) == 0 || fromElsewhere(r) {
		return "", nil
	}
	if len(list) > 1 {
		return "", errSeveralTickets
	}
	return list[0], nil
}

// fromElsewhere reports whether another site has led to a request.
func fromElsewhere(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "same-origin", "none":
		return false
	case "":
	default:
		return true
	}
	referer := r.Header.Get("Referer")
	if referer == "" {
		return false // this site's own pages send none
	}
	u, err := url.Parse(referer)
	return err != nil || u.Host != r.Host
}

// withoutTicket returns r with its ticket taken out of the URL, so that it is
// not repeated in the logs and links of what comes after.
func withoutTicket(r *http.Request) *http.Request {
	out := *r
	u := *r.URL
	u.RawQuery = dropTicket(u.RawQuery)
	out.URL = &u
	if r.RequestURI != "" {
		out.RequestURI = u.RequestURI()
	}
	// Browsers that do not know Referrer-Policy send the page before.
	if referer, err := url.Parse(r.Header.Get("Referer")); err == nil && referer.RawQuery != "" {
		referer.RawQuery = dropTicket(referer.RawQuery)
		out.Header = r.Header.Clone()
		out.Header.Set("Referer", referer.String())
	}
	return &out
}

// dropTicket takes the ticket out of a query and leaves the rest as it is
// written.
func dropTicket(query string) string {
	if query == "" {
		return ""
	}
	var kept []string
	for part := range strings.SplitSeq(query, "&") {
		name, _, _ := strings.Cut(part, "=")
		if text, err := url.QueryUnescape(name); err == nil && text == ticketParam {
			continue
		}
		kept = append(kept, part)
	}
	return strings.Join(kept, "&")
}
