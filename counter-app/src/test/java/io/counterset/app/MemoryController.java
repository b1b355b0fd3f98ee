// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import io.counterset.k8s.Replica;
import io.micronaut.context.annotation.Requires;
import io.micronaut.http.HttpRequest;
import io.micronaut.http.HttpResponse;
import io.micronaut.http.MediaType;
import io.micronaut.http.annotation.Consumes;
import io.micronaut.http.annotation.Controller;
import io.micronaut.http.annotation.Post;
import io.micronaut.http.annotation.Produces;
import io.swagger.v3.oas.annotations.Hidden;
import java.util.concurrent.atomic.AtomicLong;

/**
 * The same server without a disk, as an upper bound for docs/benchmarks-http.sh. It is not part of
 * the service.
 */
@Hidden
@Controller
@Requires(property = "counterset.bench.memory", value = "true")
final class MemoryController {

    private final AtomicLong count = new AtomicLong();
    private final Replica replica;

    MemoryController(Replica replica) {
        this.replica = replica;
    }

    @Post("/memory")
    @Consumes(MediaType.ALL)
    @Produces(MediaType.ALL)
    HttpResponse<?> add(HttpRequest<?> request) {
        MediaType type = Negotiation.negotiate(request, Negotiation.JSON, Negotiation.TEXT);
        var identity = replica.store().identity();
        return Negotiation.uncached(
                type,
                new CountController.Added(
                        replica.instance(),
                        "memory",
                        count.incrementAndGet(),
                        identity.id(),
                        identity.incarnation(),
                        false));
    }
}
