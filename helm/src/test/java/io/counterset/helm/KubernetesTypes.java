// SPDX-License-Identifier: Apache-2.0
package io.counterset.helm;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.MapperFeature;
import com.fasterxml.jackson.databind.cfg.CoercionAction;
import com.fasterxml.jackson.databind.cfg.CoercionInputShape;
import com.fasterxml.jackson.databind.introspect.Annotated;
import com.fasterxml.jackson.databind.introspect.JacksonAnnotationIntrospector;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.type.LogicalType;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.MalformedURLException;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.Set;

/**
 * The API types of one version of Kubernetes, as published for Java, and of the operators' kinds.
 * Each version has its own class loader, so that an old and a new one can be used side by side.
 */
final class KubernetesTypes {

    static final KubernetesTypes OLDEST = new KubernetesTypes(Chart.OLDEST_KUBERNETES);
    static final KubernetesTypes NEWEST = new KubernetesTypes(Chart.NEWEST_KUBERNETES);

    private static final String MODEL = "io.fabric8.kubernetes.api.model.";
    private static final Map<String, String> KUBERNETES_KINDS = Map.ofEntries(
            Map.entry("v1 ConfigMap", MODEL + "ConfigMap"),
            Map.entry("v1 PersistentVolumeClaim", MODEL + "PersistentVolumeClaim"),
            Map.entry("v1 Pod", MODEL + "Pod"),
            Map.entry("v1 Secret", MODEL + "Secret"),
            Map.entry("v1 Service", MODEL + "Service"),
            Map.entry("v1 ServiceAccount", MODEL + "ServiceAccount"),
            Map.entry("apps/v1 StatefulSet", MODEL + "apps.StatefulSet"),
            Map.entry("networking.k8s.io/v1 Ingress", MODEL + "networking.v1.Ingress"),
            Map.entry("networking.k8s.io/v1 NetworkPolicy", MODEL + "networking.v1.NetworkPolicy"),
            Map.entry("policy/v1 PodDisruptionBudget", MODEL + "policy.v1.PodDisruptionBudget"),
            Map.entry("rbac.authorization.k8s.io/v1 Role", MODEL + "rbac.Role"),
            Map.entry("rbac.authorization.k8s.io/v1 RoleBinding", MODEL + "rbac.RoleBinding"));

    /**
     * Kinds of operators rather than of Kubernetes; the newest types are used for every version.
     */
    private static final Map<String, String> OPERATORS_KINDS = Map.of(
            "gateway.networking.k8s.io/v1 HTTPRoute", MODEL + "gatewayapi.v1.HTTPRoute",
            "monitoring.coreos.com/v1 PodMonitor", "io.fabric8.openshift.api.model.monitoring.v1.PodMonitor",
            "monitoring.coreos.com/v1 PrometheusRule", "io.fabric8.openshift.api.model.monitoring.v1.PrometheusRule",
            "monitoring.coreos.com/v1 ServiceMonitor", "io.fabric8.openshift.api.model.monitoring.v1.ServiceMonitor");

    /** The fields of a cert-manager Certificate's spec, whose types are not published for Java. */
    private static final Set<String> CERTIFICATE =
            Set.of("secretName", "issuerRef", "dnsNames", "duration", "renewBefore", "privateKey", "usages", "subject");

    /**
     * Rejects unknown fields, which these types would otherwise collect in a map, and values of the
     * wrong type, as the API server does.
     */
    private static final JsonMapper STRICT = JsonMapper.builder()
            .enable(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES)
            .disable(MapperFeature.ALLOW_COERCION_OF_SCALARS)
            .withCoercionConfig(
                    LogicalType.Textual,
                    strings -> strings.setCoercion(CoercionInputShape.Integer, CoercionAction.Fail)
                            .setCoercion(CoercionInputShape.Float, CoercionAction.Fail)
                            .setCoercion(CoercionInputShape.Boolean, CoercionAction.Fail))
            .annotationIntrospector(new JacksonAnnotationIntrospector() {
                private static final long serialVersionUID = 1;

                @Override
                public Boolean hasAnySetter(Annotated member) {
                    return false;
                }
            })
            .build();

    private final String version;
    private final ClassLoader types;

    private KubernetesTypes(String version) {
        this.version = version;
        Path jars = Path.of(System.getProperty("kubernetes.types", "target/kubernetes"), version);
        try (var files = Files.list(jars)) {
            types = new URLClassLoader(
                    files.map(KubernetesTypes::url).toArray(URL[]::new), KubernetesTypes.class.getClassLoader());
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private static URL url(Path jar) {
        try {
            return jar.toUri().toURL();
        } catch (MalformedURLException e) {
            throw new UncheckedIOException(e);
        }
    }

    /**
     * Fails unless the object has a known kind, and every field at any depth exists in that kind
     * and has the right type.
     */
    void check(JsonNode object) {
        String kind =
                object.path("apiVersion").asText() + " " + object.path("kind").asText();
        String type = KUBERNETES_KINDS.get(kind);
        ClassLoader loader = types;
        if (type == null) {
            type = OPERATORS_KINDS.get(kind);
            loader = NEWEST.types;
        }
        if (kind.equals("cert-manager.io/v1 Certificate")) {
            assertThat(object.path("spec").properties())
                    .extracting(Map.Entry::getKey)
                    .isSubsetOf(CERTIFICATE)
                    .contains("secretName", "issuerRef", "dnsNames");
            return;
        }
        if (type == null) {
            throw new AssertionError("unknown kind: " + kind);
        }
        try {
            STRICT.treeToValue(object, loader.loadClass(type));
        } catch (JsonProcessingException e) {
            throw new AssertionError(
                    "not valid in Kubernetes " + version + ": " + kind + " " + object.at("/metadata/name") + ": "
                            + e.getMessage(),
                    e);
        } catch (ClassNotFoundException e) {
            throw new AssertionError("Kubernetes " + version + " has no " + kind, e);
        }
    }

    @Override
    public String toString() {
        return version;
    }
}
