// SPDX-License-Identifier: Apache-2.0
package io.counterset;

import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.classes;
import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.noClasses;
import static org.assertj.core.api.Assertions.assertThat;

import com.tngtech.archunit.core.domain.JavaClass;
import com.tngtech.archunit.core.domain.JavaClasses;
import com.tngtech.archunit.core.domain.JavaModifier;
import com.tngtech.archunit.core.importer.ClassFileImporter;
import com.tngtech.archunit.core.importer.ImportOption;
import java.io.InputStream;
import java.lang.module.ModuleDescriptor;
import java.lang.reflect.Executable;
import java.lang.reflect.GenericArrayType;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.lang.reflect.ParameterizedType;
import java.lang.reflect.Type;
import java.lang.reflect.TypeVariable;
import java.lang.reflect.WildcardType;
import java.net.URI;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

/** The public API: the public types, the one exported package, and no dependency but the JDK. */
class PublicApiTest {

    private static final JavaClasses LIBRARY = new ClassFileImporter()
            .withImportOption(ImportOption.Predefined.DO_NOT_INCLUDE_TESTS)
            .importPackages("io.counterset");

    @Test
    void theModuleExportsOnePackageAndRequiresOnlyJavaBase() throws Exception {
        URI classes = CounterStore.class
                .getProtectionDomain()
                .getCodeSource()
                .getLocation()
                .toURI();
        try (InputStream in = classes.resolve("module-info.class").toURL().openStream()) {
            ModuleDescriptor module = ModuleDescriptor.read(in);
            assertThat(module.exports())
                    .extracting(ModuleDescriptor.Exports::source)
                    .containsExactly("io.counterset");
            assertThat(module.opens()).isEmpty();
            assertThat(module.requires().stream()
                            .filter(r -> !r.modifiers().contains(ModuleDescriptor.Requires.Modifier.STATIC))
                            .map(ModuleDescriptor.Requires::name))
                    .containsExactly("java.base");
        }
    }

    @Test
    void noOtherTypeIsPublic() {
        assertThat(LIBRARY.stream()
                        .filter(type -> type.getModifiers().contains(JavaModifier.PUBLIC))
                        .filter(JavaClass::isTopLevelClass)
                        .map(JavaClass::getSimpleName))
                .containsExactlyInAnyOrder(
                        "AddResult",
                        "Counter",
                        "CounterStore",
                        "CounterStoreException",
                        "Durability",
                        "IdempotencyWindow",
                        "StoreInspection",
                        "StoreIdentity",
                        "StoreStatistics");
    }

    @Test
    void theLibraryDependsOnTheJdkOnly() {
        classes()
                .should()
                .onlyDependOnClassesThat()
                .resideInAnyPackage("io.counterset", "java..", "org.jspecify.annotations")
                .check(LIBRARY);
        noClasses()
                .should()
                .dependOnClassesThat()
                .resideInAPackage("java.util.logging")
                .check(LIBRARY);
    }

    @Test
    void noPublicMemberMentionsAnInternalType() {
        List<String> leaks = new ArrayList<>();
        for (JavaClass imported : LIBRARY) {
            Class<?> type = imported.reflect();
            if (!isVisible(type)) {
                continue;
            }
            List<Executable> members = new ArrayList<>(Arrays.asList(type.getDeclaredMethods()));
            members.addAll(Arrays.asList(type.getDeclaredConstructors()));
            for (Executable member : members) {
                if (!isVisible(member.getModifiers()) || member.isSynthetic()) {
                    continue;
                }
                List<Type> mentioned = new ArrayList<>(Arrays.asList(member.getGenericParameterTypes()));
                mentioned.addAll(Arrays.asList(member.getGenericExceptionTypes()));
                if (member instanceof Method method) {
                    mentioned.add(method.getGenericReturnType());
                }
                mentioned.stream().filter(t -> !isKnown(t)).forEach(t -> leaks.add(member + " mentions " + t));
            }
            Arrays.stream(type.getDeclaredFields())
                    .filter(field -> isVisible(field.getModifiers()) && !isKnown(field.getGenericType()))
                    .forEach(field -> leaks.add(field.toString()));
        }
        assertThat(leaks).isEmpty();
    }

    private static boolean isVisible(int modifiers) {
        return Modifier.isPublic(modifiers) || Modifier.isProtected(modifiers);
    }

    private static boolean isVisible(Class<?> type) {
        Class<?> outer = type.getEnclosingClass();
        return isVisible(type.getModifiers()) && (outer == null || isVisible(outer));
    }

    private static boolean isKnown(Type type) {
        if (type instanceof Class<?> c) {
            return c.isArray()
                    ? isKnown(c.getComponentType())
                    : c.isPrimitive() || c.getName().startsWith("java.") || isVisible(c);
        } else if (type instanceof ParameterizedType p) {
            return isKnown(p.getRawType())
                    && Arrays.stream(p.getActualTypeArguments()).allMatch(PublicApiTest::isKnown);
        } else if (type instanceof GenericArrayType a) {
            return isKnown(a.getGenericComponentType());
        } else if (type instanceof WildcardType w) {
            return Arrays.stream(w.getUpperBounds()).allMatch(PublicApiTest::isKnown);
        }
        return type instanceof TypeVariable;
    }

    @Test
    void everyExceptionStatesItsOutcome() {
        List<Class<?>> permitted = leavesOf(CounterStoreException.class).toList();
        assertThat(leavesOf(CounterStoreException.OpenException.class)).hasSize(8);
        assertThat(leavesOf(CounterStoreException.AddException.class)).hasSize(7);
        assertThat(permitted).hasSize(16).allSatisfy(type -> {
            assertThat(type.getEnclosingClass()).isEqualTo(CounterStoreException.class);
            assertThat(Modifier.isFinal(type.getModifiers())).isTrue();
            assertThat(Modifier.isPublic(type.getModifiers())).isTrue();
        });
        assertThat(permitted.stream().filter(PublicApiTest::declaresOutcome))
                .as("only one leaves the outcome open")
                .containsExactly(CounterStoreException.OutcomeUnknownException.class);
    }

    private static Stream<Class<?>> leavesOf(Class<?> type) {
        return type.isSealed()
                ? Arrays.stream(type.getPermittedSubclasses()).flatMap(PublicApiTest::leavesOf)
                : Stream.of(type);
    }

    private static boolean declaresOutcome(Class<?> type) {
        return Arrays.stream(type.getDeclaredMethods())
                .anyMatch(m -> m.getName().equals("outcome"));
    }
}
