module github.com/ktrail/ktrail

go 1.26.0
