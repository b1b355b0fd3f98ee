/** Who the peers of this replica are, what each one counts, and what was last known of it. */
@NullMarked
package io.counterset.k8s;

import org.jspecify.annotations.NullMarked;
