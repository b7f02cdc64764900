module github.com/lmipool/lmipool/benchmarks

go 1.25.0

replace github.com/lmipool/lmipool => ../

require (
	github.com/HdrHistogram/hdrhistogram-go v1.4.0
	github.com/aws/aws-lambda-go v1.54.0
	github.com/jackc/pgx/v5 v5.11.0
	github.com/lmipool/lmipool v0.0.0
)

require (
	github.com/jackc/pgpassfile v1.0.0 // indirect
	github.com/jackc/pgservicefile v0.0.0-20240606120523-5a60cdf6a761 // indirect
	github.com/jackc/puddle/v2 v2.2.3 // indirect
	golang.org/x/sync v0.17.0 // indirect
	golang.org/x/text v0.29.0 // indirect
)
