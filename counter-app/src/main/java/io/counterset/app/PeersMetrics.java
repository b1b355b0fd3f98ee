package io.counterset.app;

import io.counterset.k8s.Peers;
import io.counterset.k8s.PeersReport;
import io.micrometer.core.instrument.FunctionCounter;
import io.micrometer.core.instrument.Gauge;
import io.micrometer.core.instrument.MeterRegistry;
import io.micrometer.core.instrument.binder.MeterBinder;
import jakarta.inject.Singleton;
import java.util.function.ToDoubleFunction;

/** What the last report said of the peers. Nobody is asked for a metric; they are not numbers until there has been a report. */
@Singleton
final class PeersMetrics implements MeterBinder {

    private final Peers peers;

    PeersMetrics(Peers peers) {
        this.peers = peers;
    }

    @Override
    public void bindTo(MeterRegistry registry) {
        Gauge.builder("counterset.peers.expected", this, m -> m.latest(PeersReport::expected))
                .description("Replicas that there should be")
                .register(registry);
        Gauge.builder("counterset.peers.answering", this, m -> m.latest(PeersReport::answered))
                .description("Replicas that answered when they were last asked, this one included")
                .register(registry);
        Gauge.builder("counterset.peers.lost", this, m -> m.latest(PeersReport::lost))
                .description("Counted on volumes that were replaced or rolled back, at least")
                .register(registry);
        for (PeersReport.State state : PeersReport.State.values()) {
            Gauge.builder(
                            "counterset.peers.state",
                            this,
                            m -> m.latest(report -> report.peers().stream()
                                    .filter(peer -> peer.state() == state)
                                    .count()))
                    .description("Replicas in each state")
                    .tag("state", state.toString())
                    .register(registry);
        }
        FunctionCounter.builder(
                        "counterset.peers.asked", peers, p -> p.statistics().asked())
                .description("Times a peer was asked")
                .register(registry);
        FunctionCounter.builder(
                        "counterset.peers.failed", peers, p -> p.statistics().failed())
                .description("Times that gave no count")
                .register(registry);
    }

    private double latest(ToDoubleFunction<PeersReport> figure) {
        return peers.latest().map(figure::applyAsDouble).orElse(Double.NaN);
    }
}
