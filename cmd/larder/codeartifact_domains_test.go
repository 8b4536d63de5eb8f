package main

import "testing"

func domainChecks() []check {
	return []check{{8, "domains", checkDomains}}
}

func checkDomains(t *testing.T, s *site) {
	s.aws(admin(), "create-domain", "--domain", "c8-one").good()
	d := s.aws(admin(), "describe-domain", "--domain", "c8-one").json()
	same(t, "name", d.at("domain.name"), "c8-one")
	s.aws(admin(), "create-domain", "--domain", "c8-one").bad("ConflictException")
	same(t, "boto3", s.boto(admin(), "print(ca.describe_domain(domain='c8-one')['domain']['owner'])").good().out, siteOwner+"\n")
}
