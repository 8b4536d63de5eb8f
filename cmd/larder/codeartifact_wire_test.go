package main

import (
	"errors"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codeartifact"
	"github.com/aws/aws-sdk-go-v2/service/codeartifact/types"
)

func wireChecks() []check {
	return []check{
		{2, "go-decodes", checkGoDecodes},
		{3, "typed-errors", checkTypedErrors},
	}
}

func checkGoDecodes(t *testing.T, s *site) {
	ca := s.sdk(admin())
	tok, err := ca.GetAuthorizationToken(t.Context(), &codeartifact.GetAuthorizationTokenInput{Domain: aws.String("main")})
	if err != nil {
		t.Fatal(err)
	}
	if left := time.Until(*tok.Expiration); left < 11*time.Hour || left > 13*time.Hour {
		t.Errorf("the token expires %s from now, want 12 h", left)
	}
	d, err := ca.DescribeDomain(t.Context(), &codeartifact.DescribeDomainInput{Domain: aws.String("main")})
	if err != nil {
		t.Fatal(err)
	}
	if ago := time.Since(*d.Domain.CreatedTime); ago < -time.Minute || ago > time.Hour {
		t.Errorf("the domain was created %s ago", ago)
	}
	same(t, "owner", *d.Domain.Owner, siteOwner)
}

func checkTypedErrors(t *testing.T, s *site) {
	_, err := s.sdk(admin()).DescribeDomain(t.Context(), &codeartifact.DescribeDomainInput{Domain: aws.String("nowhere")})
	var missing *types.ResourceNotFoundException
	if !errors.As(err, &missing) {
		t.Fatalf("got %v, want a ResourceNotFoundException", err)
	}
	same(t, "resourceType", missing.ResourceType, types.ResourceTypeDomain)
	same(t, "resourceId", aws.ToString(missing.ResourceId), "nowhere")
}
