module github.com/ktrail/ktrail/e2e

go 1.26.0
