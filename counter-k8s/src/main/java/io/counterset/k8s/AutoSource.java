// SPDX-License-Identifier: Apache-2.0
package io.counterset.k8s;

import java.util.concurrent.CompletionStage;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Finds peers through Kubernetes once the API server has delivered a list, and through DNS until
 * then or for as long as this replica is not allowed to list them. Once Kubernetes has delivered a
 * list, this source never falls back to DNS: a stale list still names missing replicas, which DNS
 * cannot.
 */
final class AutoSource implements PeerSource {

    private static final Logger LOG = LoggerFactory.getLogger(AutoSource.class);

    private final KubernetesSource kubernetes;
    private final DnsSource dns;
    private volatile PeersReport.@Nullable Kind logged;

    AutoSource(KubernetesSource kubernetes, DnsSource dns) {
        this.kubernetes = kubernetes;
        this.dns = dns;
    }

    @Override
    public void onChange(Runnable whatToDo) {
        kubernetes.onChange(whatToDo);
    }

    @Override
    public void start() {
        dns.start();
        kubernetes.start();
    }

    @Override
    public CompletionStage<Membership> membership() {
        return kubernetes.membership().thenCompose(watched -> {
            if (kubernetes.hasList()) {
                return kubernetes.membership().thenApply(list -> chosen(list, "auto: the Kubernetes API gives a list"));
            }
            String why = "auto: " + watched.source().reason() + (kubernetes.isRefused() ? "" : ", for now");
            return dns.membership().thenApply(list -> chosen(list, why));
        });
    }

    private Membership chosen(Membership list, String why) {
        PeersReport.Source source = list.source();
        if (source.kind() != logged) {
            logged = source.kind();
            LOG.info("peers by {} ({})", source.kind(), why);
        }
        return list.with(
                new PeersReport.Source(source.kind(), source.state(), source.reason(), source.ageMillis(), why));
    }

    @Override
    public void close() {
        kubernetes.close();
        dns.close();
    }
}
