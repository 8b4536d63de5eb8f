package main

import "testing"

// packageChecks are the checks of logins, packages, upstreams and events. The
// checks of NuGet, Swift and Ruby clients belong to those formats.
func packageChecks(p *packageSite) []check {
	var out []check
	for _, c := range []struct {
		number int
		name   string
		run    func(*testing.T, *packageSite)
	}{
		{16, "login-npm-scope", checkNpmScope},
		{17, "login-pip", checkPipLogin},
		{18, "login-twine", checkTwineLogin},
		{24, "npm-republish", checkNpmRepublish},
		{25, "npm-tags", checkNpmTags},
		{26, "tarball-host", checkTarballHost},
		{27, "pypi-simple", checkSimpleAPI},
		{28, "twine-revisions", checkTwineRevisions},
		{29, "maven-deploy", checkMavenDeploy},
		{30, "maven-checksums", checkMavenChecksums},
		{31, "maven-snapshots", checkMavenSnapshots},
		{32, "cargo", checkCargo},
		{35, "generic", checkGeneric},
		{36, "version-lists", checkVersionLists},
		{37, "assets", checkAssets},
		{38, "status-moves", checkStatusMoves},
		{39, "npm-statuses", checkNpmStatuses},
		{40, "copy", checkCopy},
		{41, "retention", checkRetention},
		{42, "diamonds", checkDiamonds},
		{43, "upstream-down", checkUpstreamDown},
		{44, "before-retention", checkBeforeRetention},
		{45, "origin-controls", checkOriginControls},
		{46, "twine-conflict", checkTwineConflict},
		{51, "events", checkEvents},
		{15, "login-npm", checkNpmLogin},
	} {
		out = append(out, check{c.number, c.name, func(t *testing.T, _ *site) {
			t.Parallel()
			c.run(t, p)
		}})
	}
	return out
}
