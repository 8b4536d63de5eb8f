package main

import "context"

func cmdStore(ctx context.Context, args []string, std stdio) int { return exitUsage }
