// Whether JavaScript is written with good habits. Its types: tsconfig.json.

import js from '@eslint/js'
import globals from 'globals'

const habits = {
  'array-callback-return': 'error',
  'consistent-return': 'error',
  curly: ['error', 'multi-line'],
  eqeqeq: 'error',
  'no-implicit-globals': 'error',
  'no-shadow': 'error',
  'no-use-before-define': ['error', {functions: false, variables: false}],
  'no-var': 'error',
  'object-shorthand': 'error',
  'prefer-const': 'error',
  'prefer-template': 'error',
  'require-atomic-updates': 'error'
}

// What the page's scripts share, and what LNbits gives them: types/.
const given = ['Chart', 'LNbits', 'Nostrclient', 'Quasar', 'Vue']

export default [
  {ignores: ['.*/', 'data*/', 'dist/', 'target/']},
  {linterOptions: {reportUnusedDisableDirectives: 'error'}},
  js.configs.recommended,
  {rules: habits},
  {
    files: ['static/js/*.js'],
    languageOptions: {
      sourceType: 'script',
      globals: {
        ...globals.browser,
        ...Object.fromEntries(given.map(name => [name, 'readonly']))
      }
    }
  },
  {
    files: ['**/*.mjs'],
    languageOptions: {sourceType: 'module', globals: globals.node}
  }
]
