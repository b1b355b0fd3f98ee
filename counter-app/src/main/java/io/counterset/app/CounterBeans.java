// SPDX-License-Identifier: Apache-2.0
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
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Creates the central beans: the settings, the store, its history, and this replica. */
@Factory
final class CounterBeans {

    /**
     * The port assumed for peers if this replica is on a random port, which says nothing about
     * theirs.
     */
    private static final int DEFAULT_PORT = 8080;

    /** The heap that this process needs besides the store's counters and keys, in bytes. */
    private static final long HEAP_OF_THE_REST = 24 << 20;

    private static final Logger LOG = LoggerFactory.getLogger(CounterBeans.class);

    @Context
    CounterSettings settings(Settings settings) {
        return CounterSettings.from(settings);
    }

    /**
     * Opens the store. This happens after all settings have been checked, so that an invalid one
     * leaves nothing behind, and before the server binds its port, so that a client that can
     * connect finds the store recovered.
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
                        "the store in {} has failed and accepts no increments until the next start; acknowledged increments are safe",
                        settings.directory().toAbsolutePath(),
                        failure))
                .open();
    }

    /**
     * Records the main counter's history from before the server binds its port until after the last
     * request.
     */
    @Context
    @Bean(preDestroy = "close")
    History history(CounterSettings settings, CounterStore store) {
        History history = new History(settings.directory(), store, store.counter(settings.name()));
        history.start();
        return history;
    }

    @Singleton
    Replica replica(
            CounterSettings settings,
            CounterStore store,
            History history,
            HttpServerConfiguration server,
            Settings properties) {
        Replica replica = new Replica(
                settings.instance(),
                store,
                settings.name(),
                settings.port() == 0 ? DEFAULT_PORT : settings.port(),
                contextPath(server.getContextPath()),
                PeersSettings.group(properties, settings.instance()).orElse(null));
        replica.reportLastMinute(history::lastMinute);
        return replica;
    }

    /** Returns a prefix of paths: empty, or with a slash before it and none after it. */
    static String contextPath(@Nullable String setting) {
        return setting == null ? "" : setting.replaceFirst("^/?(.*?)/*$", "/$1").replaceFirst("^/$", "");
    }
}
