package io.counterset.k8s;

import io.micronaut.context.annotation.Factory;
import io.micronaut.context.annotation.Requires;
import io.micronaut.core.value.PropertyResolver;
import jakarta.inject.Singleton;

/** Makes the settings, and the source of peers that they ask for. */
@Factory
final class PeersFactory {

    @Singleton
    PeersSettings settings(PropertyResolver properties) {
        return PeersSettings.from(properties);
    }

    @Singleton
    @Requires(beans = Replica.class)
    PeerSource source(PeersSettings settings, Replica replica) {
        return new StaticSource(settings, replica.port(), null);
    }
}
