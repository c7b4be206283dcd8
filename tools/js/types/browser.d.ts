// What browsers have and the library of types does not.
declare var trustedTypes: { createPolicy(name: string, rules: { createHTML: (s: string) => string }): { createHTML(s: string): any } } | undefined;
