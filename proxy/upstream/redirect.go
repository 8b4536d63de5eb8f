package upstream

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
)

func isRedirect(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// follow moves the exchange to where a redirect points, or refuses.
func (x *exchange) follow(status int, location []string) error {
	refuse := func(u *url.URL, reason error) error {
		return &Refused{Connection: x.l.cfg.Name, URL: redact(u), Reason: reason.Error()}
	}
	if !x.rq.repeatable() {
		return refuse(x.url, fmt.Errorf("it redirects a %s (status %d)", x.rq.method(), status))
	}
	if len(location) != 1 {
		return refuse(x.url, fmt.Errorf("its redirect has %d locations", len(location)))
	}
	if x.redirects++; x.redirects > maxRedirects {
		return refuse(x.url, fmt.Errorf("it redirects more than %d times", maxRedirects))
	}
	u, o, err := x.l.redirect(x.url, x.at, location[0])
	if u == nil {
		return refuse(x.url, fmt.Errorf("of its redirect, %w", err))
	}
	if err != nil {
		return refuse(u, fmt.Errorf("a redirect leads here from %s, but %w", x.at, err))
	}
	x.url, x.at = u, o
	x.home = x.home && o == x.l.own
	return nil
}

// redirect resolves a Location against the URL that gave it and checks that it
// may be followed. The URL is returned with an error, too, for the message.
func (l *link) redirect(from *url.URL, at origin, location string) (*url.URL, origin, error) {
	if location == "" {
		return nil, origin{}, errors.New("the location is empty")
	}
	ref, err := parseURL(location)
	if err != nil {
		return nil, origin{}, fmt.Errorf("the location %w", err)
	}
	u := from.ResolveReference(ref)
	o, err := settle(u)
	if err != nil {
		return u, origin{}, err
	}
	if len(u.String()) > maxURL {
		return u, origin{}, fmt.Errorf("the location is longer than %d bytes", maxURL)
	}
	if at.scheme == "https" && o.scheme == "http" {
		return u, origin{}, errors.New("https is never left for http")
	}
	return u, o, l.permit(o)
}
