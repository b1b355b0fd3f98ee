package io.counterset.app;

import io.counterset.CounterStore;
import io.counterset.k8s.PeersSettings;
import io.counterset.k8s.Replica;
import io.counterset.k8s.Settings;
import io.micronaut.context.annotation.Bean;
import io.micronaut.context.annotation.Context;
import io.micronaut.context.annotation.Factory;
import io.micronaut.http.server.HttpServerConfiguration;
import io.micronaut.http.server.netty.configuration.NettyHttpServerConfiguration;
import jakarta.inject.Singleton;
import java.util.Optional;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Makes the beans that everything else is about: the settings, the store, and this replica. */
@Factory
final class StoreFactory {

    /** Where nobody says otherwise, replicas listen here; a replica on a random port tells nothing about the others' ports. */
    private static final int USUAL_PORT = 8080;

    /** What this process needs of the heap beside the store's counters and keys, in bytes. */
    private static final long HEAP_OF_THE_REST = 24 << 20;

    private static final Logger LOG = LoggerFactory.getLogger(StoreFactory.class);

    @Context
    CounterSettings settings(Settings settings) {
        return CounterSettings.from(settings);
    }

    /**
     * Opens the store: after all settings have been found good, so that a bad one leaves nothing behind, and before the server
     * takes its port, so that a client that can connect finds the store recovered.
     */
    @Context
    @Bean(preDestroy = "close")
    CounterStore store(
            CounterSettings settings,
            PeersSettings peers,
            Tokens tokens,
            Optional<ServerTls> tls,
            NettyHttpServerConfiguration server) {
        long heap = Runtime.getRuntime().maxMemory();
        long forStore = Math.max(heap - HEAP_OF_THE_REST, heap / 2);
        long mostBytes = settings.mostBytes();
        if (mostBytes > forStore) {
            LOG.warn(
                    "the heap of {} MB may not hold what the settings allow: counters and idempotency keys may take {} MB; give"
                            + " the process more memory, or lower COUNTER_CREATE or COUNTER_IDEMPOTENCY_MAX_KEYS",
                    heap >> 20,
                    mostBytes >> 20);
        }
        return settings.store()
                .maxHeap(forStore)
                .onWarning(LOG::warn)
                .onFailure(failure -> LOG.error(
                        "the store in {} has failed, and counts no more until the next start; what was acknowledged is safe",
                        settings.directory().toAbsolutePath(),
                        failure))
                .open();
    }

    /** Follows the main counter from before the server takes its port until after the last request. */
    @Context
    @Bean(preDestroy = "close")
    History history(CounterSettings settings, CounterStore store) {
        History history = new History(settings.directory(), store, store.counter(settings.name()));
        history.start();
        return history;
    }

    @Singleton
    Replica replica(CounterSettings settings, CounterStore store, HttpServerConfiguration server, Settings properties) {
        String contextPath = server.getContextPath() == null ? "" : server.getContextPath();
        return new Replica(
                settings.instance(),
                store,
                settings.name(),
                settings.port() == 0 ? USUAL_PORT : settings.port(),
                contextPath.replaceFirst("^/?(.*?)/*$", "/$1").replaceFirst("^/$", ""),
                PeersSettings.group(properties, settings.instance()).orElse(null));
    }
}
