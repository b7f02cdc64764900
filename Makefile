# `make help` is the index.
MODULES  := . compat compat/sql otel examples examples/unit examples/libraries benchmarks
# The race detector needs cgo; Go turns that off where there is no C compiler.
RACE     := $(if $(filter 1,$(shell go env CGO_ENABLED)),-race)
# The race detector sleeps for a second at the end of each program, and there are more than a hundred.
export GORACE ?= atexit_sleep_ms=50
# Compiles all that the tests need with both CPUs; go test -p 1 compiles one package after the other too.
COMPILE  := go list $(RACE) -export -test -deps
PGX_NEXT := v5.12.0
LAMBDA_NEXT := v1.55.1

.PHONY: help
help: ## what there is to make
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

# One package at a time: some tests are about deadlines, and a neighbour's load must not decide them.
.PHONY: test
test: ## all tests of all modules, under the race detector where there is a C compiler (FLAGS=... adds to go test)
	@mkdir -p bin && go build -o bin/withpg ./internal/pgtest/withpg
	go test ./pool -run AllocatesNoMore # skipped under the race detector, which allocates
	@ok=true; for m in $(MODULES); do with=; case $$m in examples*) with=$(CURDIR)/bin/withpg;; esac; \
		echo "== $$m: go test -p 1 -timeout 25m $(RACE) -shuffle=on $(FLAGS) ./..."; (cd $$m && $(COMPILE) ./... >/dev/null && $$with go test -p 1 -timeout 25m $(RACE) -shuffle=on $(FLAGS) ./...) || ok=false; done; $$ok

.PHONY: demo
demo: ## the experiment this grew out of, measured here in about a minute (ARGS='-hold 5s', -h lists them)
	@scripts/install-pgbouncer
	@mkdir -p out bin
	@cd examples && go build -o ../bin/demo ./demo
	@bin/demo -out out/demo $(ARGS)

.PHONY: bin/bench
bin/bench:
	@mkdir -p out bin
	@cd benchmarks && go build -ldflags "-X main.revision=$$(git describe --always --dirty 2>/dev/null || echo unknown)" -o ../bin/bench .

.PHONY: bench
bench: bin/bench ## lmipool and pgxpool compared, in about 10 minutes (ARGS=-short in less than one, ARGS=-h lists the flags)
	@bin/bench -out out/bench $(ARGS)

.PHONY: bench-against
bench-against: bin/bench ## this tree and REV=a-commit in turn on one server: point, rows20, mixed, in about 8 minutes (ROUNDS=5, ARGS=... as for bench)
	@scripts/bench-at $(or $(REV),$(error bench-against needs REV=, what to compare with)) bin/bench-rev
	@bin/bench -against bin/bench-rev -out out/bench-against $(if $(ROUNDS),-rounds $(ROUNDS)) $(ARGS)

.PHONY: overload
overload: bin/bench ## lmipool, pgxpool and a plain queue under more than the server can do, in about two hours (ARGS=-short in one minute, ARGS=-h lists the flags)
	@bin/bench overload -out out/overload $(ARGS)

.PHONY: sizes
sizes: bin/bench ## fixed numbers of connections beside the automatic one, cold bursts and idle pools, in about 15 minutes (ARGS=-short in half of one)
	@bin/bench sizes -out out/sizes $(ARGS)

.PHONY: start
start: bin/bench ## from the start of a handler's process to its first reply, lmipool and pgxpool, and the sizes of the binaries, in about a minute (ARGS='-rounds 61')
	@bin/bench start -out out/start $(ARGS)

.PHONY: bench-overhead
bench-overhead: ## what lmipool adds to pgxpool, and Handler to a handler, for one client (8 interleaved runs)
	@mkdir -p bin out && rm -f out/bench.txt
	@go test -c -o bin/pool.test ./pool && go test -c -o bin/handler.test .
	@for i in 1 2 3 4 5 6 7 8; do (cd pool && ../bin/pool.test -test.run '^$$' -test.bench . -test.benchtime 0.5s); bin/handler.test -test.run '^$$' -test.bench . -test.benchtime 0.5s; done | grep -v '^lmipool' | tee out/bench.txt
	@cd tools && go tool benchstat -col /pool,/handler ../out/bench.txt

# What lanes and isolation promise depends on the server more than the rest does: the tests that
# pool/testdata/matrix.txt names, each in full, under each version. TestTheMatrixNamesTests holds the list.
MATRIX_TESTS = $(shell grep -v '^\#' pool/testdata/matrix.txt | paste -sd'|')

.PHONY: test-matrix
test-matrix: ## lanes, isolation, cancels, transactions under PostgreSQL 14, 16, 17 and 18, fetched once (PG='15 18' chooses, FLAGS=-test.v talks)
	@mkdir -p bin && go test -c $(RACE) -o bin/pool-matrix.test ./pool
	@ok=true; for v in $(or $(PG),14 16 17 18); do echo "== PostgreSQL $$v"; \
		(cd pool && LMIPOOL_TEST_PG=$$v LMIPOOL_TEST_MATRIX=1 ../bin/pool-matrix.test -test.run '^($(MATRIX_TESTS))$$' -test.timeout 5m $(FLAGS)) || ok=false; done; $$ok

.PHONY: test-next
test-next: ## the library's tests that have to do with pgx or Lambda, and pgxpool's own of that version, with the newest pgx and aws-lambda-go (no pgxmock compiles with that pgx)
	@mkdir -p out && cp go.mod out/next.mod && cp go.sum out/next.sum
	@cp compat/go.mod out/compat-next.mod && cp compat/go.sum out/compat-next.sum
	cd compat && go get -modfile=../out/compat-next.mod github.com/jackc/pgx/v5@$(PGX_NEXT) && GOFLAGS=-modfile=$(CURDIR)/out/compat-next.mod go test -count 1 $(FLAGS) ./...
	go get -modfile=out/next.mod github.com/jackc/pgx/v5@$(PGX_NEXT) github.com/aws/aws-lambda-go@$(LAMBDA_NEXT)
	$(COMPILE) -modfile=out/next.mod ./... >/dev/null
	go test -p 1 -timeout 25m -modfile=out/next.mod $(RACE) -shuffle=on $(FLAGS) $$(go list -modfile=out/next.mod -test -f '{{.ImportPath}} {{.Deps}}' ./... | sed -nE 's,^([^ ]*)\.test \[.*(jackc/pgx|aws-lambda-go).*,\1,p')

.PHONY: sim
sim: pictures ## the scheduler in virtual time: its pictures, its rules after each event, the planted bugs that they find, and events a second, in about 3 minutes (FOR=1m)
	LMIPOOL_TEST_SIM=$(or $(FOR),1m) go test -count 1 -v -timeout 60m -bench . $(FLAGS) ./internal/sim

.PHONY: pictures
pictures: ## draw the pictures of docs/sizing.md again, in a few seconds
	LMIPOOL_TEST_PICTURES=$(CURDIR)/docs/img go test -count 1 -run Picture ./internal/sim

.PHONY: lint
lint: ## golangci-lint, gofumpt, tidy go.mod files
	@set -e; for m in $(MODULES); do echo "== $$m"; (cd $$m && go mod tidy -diff && go vet ./...); done
	@mkdir -p bin && cd tools && go build -o ../bin/golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint
	@set -e; for m in $(MODULES); do echo "== golangci-lint $$m"; (cd $$m && $(CURDIR)/bin/golangci-lint run --config $(CURDIR)/.golangci.yml ./... && $(CURDIR)/bin/golangci-lint fmt --config $(CURDIR)/.golangci.yml --diff ./...); done

.PHONY: fmt
fmt: ## gofumpt everything
	@mkdir -p bin && cd tools && go build -o ../bin/golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint
	@set -e; for m in $(MODULES); do (cd $$m && $(CURDIR)/bin/golangci-lint fmt --config $(CURDIR)/.golangci.yml ./...); done

.PHONY: darwin
darwin: ## everything builds and vets for macOS too
	@set -e; for m in $(MODULES); do echo "== $$m: GOOS=darwin go vet"; (cd $$m && GOOS=darwin go vet ./...); done

.PHONY: fuzz
fuzz: ## each fuzz target for 20 seconds
	go test ./lambdaenv -run '^$$' -fuzz . -fuzztime 20s

.PHONY: fuzz-proof
fuzz-proof: ## code of the user's own in every place that can run it: 100,000 statements under PostgreSQL 14 to 18, in about an hour (PG='15 18' chooses, N=... how many)
	@mkdir -p bin && go test -c -o bin/pool-proof.test ./pool
	@ok=true; for v in $(or $(PG),14 15 16 17 18); do echo "== PostgreSQL $$v"; \
		(cd pool && LMIPOOL_TEST_PG=$$v LMIPOOL_TEST_PROOFS=$(or $(N),100000) ../bin/pool-proof.test -test.v -test.run '^TestNothingOfTheUsersRunsUnseen$$' -test.timeout 60m $(FLAGS)) || ok=false; done; $$ok

.PHONY: clean
clean: ## remove what make made
	rm -rf out bin
