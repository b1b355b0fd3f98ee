// SPDX-License-Identifier: Apache-2.0
package io.counterset.k8s;

import io.kubernetes.client.common.KubernetesListObject;
import io.kubernetes.client.common.KubernetesObject;
import io.kubernetes.client.openapi.models.V1ListMeta;
import io.kubernetes.client.openapi.models.V1ObjectMeta;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * The fields of Kubernetes API objects that this module uses, as Gson reads them. All other fields
 * are dropped.
 *
 * <p>The client's own model classes are unsuitable: they reject the {@code "endpoints":null} that
 * an API server sends for a service whose pods do not exist yet, and with it the whole list.
 */
final class ApiObjects {

    private ApiObjects() {}

    /** What all objects have in common. */
    abstract static class Named implements KubernetesObject {

        private @Nullable String apiVersion;
        private @Nullable String kind;
        private V1ObjectMeta metadata = new V1ObjectMeta();

        @Override
        public V1ObjectMeta getMetadata() {
            return metadata;
        }

        @Override
        @SuppressWarnings("NullAway") // the interface is not annotated for null, and no caller here uses it
        public String getApiVersion() {
            return apiVersion;
        }

        @Override
        @SuppressWarnings("NullAway")
        public String getKind() {
            return kind;
        }

        String version() {
            String version = metadata.getResourceVersion();
            return version == null ? "" : version;
        }
    }

    /** What all lists have in common. */
    abstract static class Several<T extends Named> implements KubernetesListObject {

        private @Nullable String apiVersion;
        private @Nullable String kind;
        private V1ListMeta metadata = new V1ListMeta();
        private @Nullable List<T> items;

        @Override
        public V1ListMeta getMetadata() {
            return metadata;
        }

        @Override
        public List<T> getItems() {
            return items == null ? List.of() : items;
        }

        @Override
        @SuppressWarnings("NullAway")
        public String getApiVersion() {
            return apiVersion;
        }

        @Override
        @SuppressWarnings("NullAway")
        public String getKind() {
            return kind;
        }
    }

    /** One slice of a service's endpoints. */
    static final class EndpointSlice extends Named {
        @Nullable
        List<Endpoint> endpoints;

        @Nullable
        List<Port> ports;
    }

    static final class EndpointSlices extends Several<EndpointSlice> {}

    static final class Endpoint {
        @Nullable
        List<String> addresses;

        @Nullable
        Conditions conditions;

        @Nullable
        String hostname;

        @Nullable
        Target targetRef;
    }

    static final class Conditions {
        @Nullable
        Boolean serving;

        @Nullable
        Boolean terminating;
    }

    static final class Target {
        @Nullable
        String kind;

        @Nullable
        String name;
    }

    static final class Port {
        @Nullable
        String name;

        @Nullable
        Integer port;
    }

    /** The fields of a StatefulSet that define which pods it should have. */
    static final class StatefulSet extends Named {
        @Nullable
        Spec spec;
    }

    static final class StatefulSets extends Several<StatefulSet> {}

    static final class Spec {
        @Nullable
        Integer replicas;

        @Nullable
        Ordinals ordinals;

        @Nullable
        ClaimRetention persistentVolumeClaimRetentionPolicy;
    }

    /**
     * What happens to a pod's volume claim when the pod is scaled away: {@code Retain}, the
     * default, or {@code Delete}.
     */
    static final class ClaimRetention {
        @Nullable
        String whenScaled;
    }

    static final class Ordinals {
        @Nullable
        Integer start;
    }
}
