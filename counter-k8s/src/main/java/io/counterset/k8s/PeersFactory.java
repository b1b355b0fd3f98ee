// SPDX-License-Identifier: Apache-2.0
package io.counterset.k8s;

import io.kubernetes.client.util.ClientBuilder;
import io.kubernetes.client.util.Config;
import io.micronaut.context.BeanProvider;
import io.micronaut.context.annotation.Factory;
import io.micronaut.context.annotation.Requires;
import io.micronaut.context.env.Environment;
import io.micronaut.core.value.PropertyResolver;
import io.micronaut.kubernetes.client.ApiClientConfiguration;
import jakarta.inject.Singleton;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/** Creates the settings and the source of peers that they select. */
@Factory
final class PeersFactory {

    private static final Path RESOLV_CONF = Path.of("/etc/resolv.conf");
    private static final Path NAMESPACE = Path.of("/var/run/secrets/kubernetes.io/serviceaccount/namespace");

    @Singleton
    Settings settings(Environment properties) {
        return new Settings(properties);
    }

    /**
     * Reads the files that settings name, so that an unusable file fails the start before anything
     * is written, as an invalid setting does.
     */
    @Singleton
    PeerAccess access(Settings settings, MountedFiles files) {
        return PeerAccess.from(
                settings, files, settings.text("counter.peers.service").orElse(null));
    }

    @Singleton
    PeersSettings peersSettings(Settings settings, PeerAccess access) {
        return PeersSettings.from(settings);
    }

    @Singleton
    @Requires(beans = Replica.class)
    PeerSource source(
            PeersSettings settings,
            Replica replica,
            PropertyResolver properties,
            ApiClientConfiguration kubernetes,
            BeanProvider<ClientBuilder> builder) {
        KubernetesSource.Access access = access(kubernetes, builder);
        return switch (settings.source()) {
            case STATIC -> new StaticSource(settings, replica.port(), null);
            case DNS -> dns(settings, replica, null);
            case KUBERNETES -> new KubernetesSource(settings, replica, access, Peers.CLOCK);
            case AUTO -> {
                String missing = access.missing();
                if (!settings.addresses().isEmpty()) {
                    yield new StaticSource(settings, replica.port(), "auto: counter.peers.addresses is set");
                } else if (settings.service() == null) {
                    yield new StaticSource(
                            settings,
                            replica.port(),
                            "auto: neither counter.peers.addresses nor counter.peers.service is set");
                } else if (!properties.containsProperty("kubernetes.service.host")) {
                    yield dns(settings, replica, "auto: not in a Kubernetes pod (no KUBERNETES_SERVICE_HOST)");
                } else if (missing != null) {
                    yield dns(settings, replica, "auto: " + missing);
                }
                yield new AutoSource(
                        new KubernetesSource(settings, replica, access, Peers.CLOCK), dns(settings, replica, null));
            }
        };
    }

    private static DnsSource dns(PeersSettings settings, Replica replica, @Nullable String chosen) {
        return new DnsSource(settings, replica, "dns:", RESOLV_CONF, Peers.CLOCK, chosen);
    }

    private static KubernetesSource.Access access(
            ApiClientConfiguration configuration, BeanProvider<ClientBuilder> builder) {
        Path kubeConfig = configuration.getKubeConfigPath().map(Path::of).orElse(null);
        Path token = kubeConfig != null && Files.isReadable(kubeConfig)
                ? null
                : Path.of(configuration.getTokenPath().orElse(Config.SERVICEACCOUNT_TOKEN_PATH));
        return new KubernetesSource.Access(builder::get, namespace(configuration), token);
    }

    private static String namespace(ApiClientConfiguration configuration) {
        return configuration.getNamespace().or(PeersFactory::podNamespace).orElse("default");
    }

    /** Returns the namespace of this pod; empty outside a pod. */
    static Optional<String> podNamespace() {
        try {
            return Optional.of(Files.readString(NAMESPACE).strip()).filter(namespace -> !namespace.isEmpty());
        } catch (IOException e) {
            return Optional.empty();
        }
    }
}
