package main

import (
	"fmt"
	"slices"
	"testing"
)

// check is one line of the list of what a faithful server must pass.
type check struct {
	number int
	name   string // words with hyphens
	run    func(t *testing.T, s *site)
}

// codeArtifactChecks are all checks. Each file of them adds its own list.
func codeArtifactChecks() []check {
	return slices.Concat(wireChecks(), domainChecks(), tokenChecks(), groupChecks(), rightsChecks())
}

// TestCodeArtifact drives the program in a process of its own with the clients
// that people have for CodeArtifact: the AWS CLI, boto3, the SDK for Go and
// package managers. All checks share one node, so each makes domains and
// repositories of its own; a check that stops a node or needs a config of its
// own makes another one with newSite.
func TestCodeArtifact(t *testing.T) {
	if testing.Short() {
		t.Skip("checks with real clients do not run with -short")
	}
	s := newSite(t, rightsConfig())
	for _, c := range append(codeArtifactChecks(), packageChecks(newPackageSite(t))...) {
		t.Run(fmt.Sprintf("%02d-%s", c.number, c.name), func(t *testing.T) { c.run(t, s.in(t)) })
	}
}
