// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import io.micronaut.http.HttpRequest;
import java.util.Arrays;
import java.util.List;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * Reads the query of a request. An unknown parameter is refused, since it may be a misspelt known
 * one.
 */
final class Query {

    private Query() {}

    /**
     * Requires that the query has only {@code known} parameters, each at most once.
     *
     * @throws Problem.Refusal if it has another one, or one more than once
     */
    static void allow(HttpRequest<?> request, String... known) {
        if (isAbsent(request)) {
            return;
        }
        Set<String> names = request.getParameters().names();
        for (String name : names) {
            if (!Arrays.asList(known).contains(name)) {
                throw new Problem.Refusal(
                        Problem.Type.BAD_REQUEST,
                        "'" + name + "' is not a parameter of this path; expected "
                                + (known.length == 0 ? "none" : String.join(", ", known)));
            }
        }
        for (String name : names) {
            one(request, name, Problem.Type.BAD_REQUEST);
        }
    }

    /**
     * Returns the value of a parameter, or null if the query does not have it.
     *
     * @throws Problem.Refusal of type {@code repeated} if the parameter occurs more than once
     */
    static @Nullable String one(HttpRequest<?> request, String name, Problem.Type repeated) {
        if (isAbsent(request)) {
            return null;
        }
        List<String> values = request.getParameters().getAll(name);
        if (values.size() > 1) {
            throw new Problem.Refusal(repeated, name + " is given " + values.size() + " times; expected once");
        }
        return values.isEmpty() ? null : values.get(0);
    }

    /** Most requests have no query; decoding its parameters nevertheless takes time. */
    private static boolean isAbsent(HttpRequest<?> request) {
        return request.getUri().getRawQuery() == null;
    }
}
