// SPDX-License-Identifier: Apache-2.0
package io.counterset.k8s;

import io.counterset.k8s.Membership.Member;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import org.jspecify.annotations.Nullable;

/**
 * A list of addresses from the settings. It may include this replica, so that all replicas can
 * share one list.
 */
final class StaticSource implements PeerSource {

    private final Membership membership;

    /** @param chosen why this source was chosen; null if the settings name it */
    StaticSource(PeersSettings settings, int defaultPort, @Nullable String chosen) {
        List<Member> members = settings.addresses().stream()
                .map(address -> PeersSettings.withPort(address, defaultPort))
                .distinct()
                .map(address -> new Member(null, address, Membership.Phase.SERVING))
                .toList();
        membership = new Membership(
                new PeersReport.Source(PeersReport.Kind.STATIC, PeersReport.Freshness.LIVE, null, null, chosen),
                Membership.Expected.listed(settings.expected()),
                members);
    }

    @Override
    public void start() {}

    @Override
    public CompletionStage<Membership> membership() {
        return CompletableFuture.completedStage(membership);
    }

    @Override
    public void close() {}
}
