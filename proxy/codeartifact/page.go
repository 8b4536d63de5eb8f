package codeartifact

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// Sizes of a page when the request names none (user guide, "list packages").
const (
	defaultPage  = 50
	packagesPage = 100
)

// checkLength is how many bytes of a token say which request it belongs to.
const checkLength = 12

// pageSize is how many results the caller wants.
func (c *call) pageSize(usual int) int {
	if c.args.has("maxResults") {
		return c.args.number("maxResults")
	}
	return usual
}

// check sums up everything that decides what a list holds, with the position in
// it, so that a token says nothing when it is brought to another list. It is no
// secret: a position reveals only what the list would show anyway.
func (c *call) check(position string) ([]byte, error) {
	args := maps.Clone(c.args)
	delete(args, "nextToken")
	delete(args, "maxResults")
	args["domainOwner"] = c.owner()
	given, err := json.Marshal(args)
	if err != nil {
		return nil, fmt.Errorf("sum up request: %w", err)
	}
	h := sha256.New()
	for _, part := range []string{c.op.name, c.caller.Account, string(given), position} {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	return h.Sum(nil)[:checkLength], nil
}

// token makes the nextToken for a page that ends at a position.
func (c *call) token(position string) (string, error) {
	check, err := c.check(position)
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(append(check, position...)), nil
}

// position is where the page before ended, "" for the first page.
func (c *call) position() (string, error) {
	if !c.args.has("nextToken") {
		return "", nil
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(c.args.text("nextToken"))
	if err != nil || len(raw) <= checkLength {
		return "", badToken()
	}
	position := string(raw[checkLength:])
	check, err := c.check(position)
	if err != nil {
		return "", err
	}
	if !bytes.Equal(check, raw[:checkLength]) {
		return "", badToken()
	}
	return position, nil
}

func badToken() *APIError {
	return Invalid(ReasonField, "1 validation error detected: Value at 'nextToken' failed to satisfy constraint: Member must be the nextToken of an answer to the same request")
}

// page cuts the page out of a list that is sorted by key. Keys are unique; an
// entry that went since the page before moves nothing.
func page[T any](c *call, items []T, usual int, key func(T) string) (out []T, next string, err error) {
	after, err := c.position()
	if err != nil {
		return nil, "", err
	}
	if after != "" {
		i, found := slices.BinarySearchFunc(items, after, func(item T, k string) int { return bytes.Compare([]byte(key(item)), []byte(k)) })
		if found {
			i++
		}
		items = items[i:]
	}
	size := c.pageSize(usual)
	if len(items) <= size {
		return items, "", nil
	}
	next, err = c.token(key(items[size-1]))
	return items[:size], next, err
}
