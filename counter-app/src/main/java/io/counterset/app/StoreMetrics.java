// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import io.counterset.Counter;
import io.counterset.CounterStore;
import io.counterset.StoreStatistics;
import io.micrometer.core.instrument.FunctionCounter;
import io.micrometer.core.instrument.Gauge;
import io.micrometer.core.instrument.MeterRegistry;
import io.micrometer.core.instrument.binder.MeterBinder;
import io.micrometer.prometheusmetrics.PrometheusMeterRegistry;
import io.micronaut.context.BeanProvider;
import io.prometheus.metrics.model.registry.Collector;
import io.prometheus.metrics.model.snapshots.ClassicHistogramBuckets;
import io.prometheus.metrics.model.snapshots.HistogramSnapshot;
import io.prometheus.metrics.model.snapshots.HistogramSnapshot.HistogramDataPointSnapshot;
import io.prometheus.metrics.model.snapshots.MetricSnapshot;
import jakarta.inject.Singleton;
import java.util.List;
import java.util.Optional;
import java.util.function.ToDoubleFunction;

/**
 * The store's statistics as metrics. They are read only by a scrape, and cost nothing while
 * counting.
 */
@Singleton
final class StoreMetrics implements MeterBinder {

    private final CounterStore store;
    private final CounterSettings settings;
    private final History history;
    private final Refusals refusals;
    private final Connections connections;
    private final Optional<ServerTls> tls;
    private final BeanProvider<PrometheusMeterRegistry> prometheus;

    StoreMetrics(
            CounterStore store,
            CounterSettings settings,
            History history,
            Refusals refusals,
            Connections connections,
            Optional<ServerTls> tls,
            BeanProvider<PrometheusMeterRegistry> prometheus) {
        this.history = history;
        this.refusals = refusals;
        this.connections = connections;
        this.tls = tls;
        this.prometheus = prometheus;
        this.store = store;
        this.settings = settings;
    }

    @Override
    public void bindTo(MeterRegistry registry) {
        counter(registry, "commits", "Commits that reached the disk, one flush each", StoreStatistics::commits);
        counter(
                registry,
                "commit.callers",
                "Increments served by those commits; divided by the commits, the average group size",
                StoreStatistics::callers);
        counter(
                registry,
                "commit.failures",
                "Commits that failed: after one, nothing is accepted until the next start",
                StoreStatistics::commitFailures);
        counter(registry, "journal.written.bytes", "Bytes written by those commits", StoreStatistics::bytesWritten);
        counter(
                registry,
                "journal.growths",
                "Times the journal was replaced by a larger one",
                StoreStatistics::growths);
        counter(
                registry,
                "idempotency.replays",
                "Increments recognised by their key as counted before",
                StoreStatistics::replays);
        counter(
                registry,
                "idempotency.early.evictions",
                "Keys evicted before they expired, because the window was full",
                StoreStatistics::earlyEvictions);
        counter(
                registry,
                "count.file.failures",
                "Failed attempts to write count.txt",
                StoreStatistics::countFileFailures);

        gauge(registry, "pending", "Increments waiting for the disk", StoreStatistics::pending);
        gauge(registry, "counters", "Counters that have ever been added to", StoreStatistics::counters);
        gauge(registry, "idempotency.keys", "Idempotency keys remembered", StoreStatistics::rememberedKeys);
        gauge(
                registry,
                "commit.longest.seconds",
                "The longest commit since the start",
                s -> seconds(s.longestStall().toNanos()));
        gauge(
                registry,
                "commit.under.way.seconds",
                "How long the commit in progress has taken; grows while the disk does not answer",
                s -> seconds(s.commitUnderWay().toNanos()));
        gauge(
                registry,
                "recovery.seconds",
                "How long opening the store took",
                s -> seconds(s.recoveryTime().toNanos()));
        Gauge.builder("counterset.last.minute", history, History::lastMinute)
                .description("How much the main counter of this replica grew in the last 60 seconds")
                .register(registry);
        Gauge.builder("counterset.store.accepting", store, s -> s.isAccepting() ? 1 : 0)
                .description("Whether the store accepts increments: 1, or 0 once it failed or is closed")
                .register(registry);
        Gauge.builder(
                        "counterset.journal.bytes",
                        settings, // a gauge holds its object weakly; this one stays reachable
                        s -> s.directory().resolve("counters.journal").toFile().length())
                .description("Size of the journal; the next start needs as much free space")
                .register(registry);
        for (Problem.Type type : Problem.Type.values()) {
            FunctionCounter.builder("counterset.refusals", refusals, r -> r.countOf(type))
                    .description("Requests answered with a problem")
                    .tag("type", type.word())
                    .register(registry);
        }
        Gauge.builder("counterset.connections", connections, Connections::open)
                .description("Open connections")
                .register(registry);
        FunctionCounter.builder("counterset.connections.closed", refusals, Refusals::closedConnections)
                .description("Connections closed to make room for others")
                .register(registry);
        Gauge.builder(
                        "counterset.certificate.expires.seconds",
                        () -> tls.map(t -> (double) t.expires().getEpochSecond())
                                .orElse(Double.NaN))
                .description("When the certificate in use expires, in seconds since 1970; NaN without TLS")
                .register(registry);
        Gauge.builder("counterset.build.info", () -> 1)
                .description("The running version")
                .tag("version", Application.version())
                .tag("java", Runtime.version().toString())
                .register(registry);
        for (String name : settings.metrics()) {
            Counter counter = store.counter(name);
            FunctionCounter.builder("counterset.counter", store, s -> counter.value())
                    .description("The durable count of a counter of this replica")
                    .tag("counter", name)
                    .register(registry);
        }
        prometheus.get().getPrometheusRegistry().register((Collector) this::commitSeconds);
    }

    private void counter(
            MeterRegistry registry, String name, String description, ToDoubleFunction<StoreStatistics> figure) {
        FunctionCounter.builder("counterset." + name, store, s -> figure.applyAsDouble(s.statistics()))
                .description(description)
                .register(registry);
    }

    private void gauge(
            MeterRegistry registry, String name, String description, ToDoubleFunction<StoreStatistics> figure) {
        Gauge.builder("counterset." + name, store, s -> figure.applyAsDouble(s.statistics()))
                .description(description)
                .register(registry);
    }

    /**
     * Returns the commit times as a histogram with the store's own buckets, whose bounds are powers
     * of two in microseconds.
     */
    private MetricSnapshot commitSeconds() {
        StoreStatistics statistics = store.statistics();
        List<Long> times = statistics.flushTimes();
        ClassicHistogramBuckets.Builder buckets = ClassicHistogramBuckets.builder();
        for (int i = 0; i < times.size(); i++) {
            double upTo = i == times.size() - 1 ? Double.POSITIVE_INFINITY : (1L << i) / 1e6;
            buckets.bucket(upTo, times.get(i));
        }
        return HistogramSnapshot.builder()
                .name("counterset_commit_seconds")
                .help("How long the disk took for a commit")
                .dataPoint(HistogramDataPointSnapshot.builder()
                        .classicHistogramBuckets(buckets.build())
                        .sum(seconds(statistics.flushTime().toNanos()))
                        .build())
                .build();
    }

    private static double seconds(long nanos) {
        return nanos / 1e9;
    }
}
